// Command podnetwork connects the pods of a kind cluster. It runs on each node in place of
// kindnetd, which is not available as a Go module. It configures the CNI plugins of its
// node, and adds a route to the pods of each other node.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// configurationFile is the CNI configuration. kind's manifest mounts its directory.
const configurationFile = "/etc/cni/net.d/10-podnetwork.conflist"

// interval is the time between two runs of apply. A node gets its pod range and its
// address within seconds after it joins.
const interval = time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		slog.Error("Could not run", "error", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes().Informer().GetStore()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	n := network{hostIP: os.Getenv("HOST_IP"), file: configurationFile, addRoute: netlink.RouteReplace}
	wait.UntilWithContext(ctx, func(context.Context) {
		for _, object := range nodes.List() {
			if err := n.apply(object.(*corev1.Node)); err != nil {
				slog.Error("Could not configure network", "node", object.(*corev1.Node).Name, "error", err)
			}
		}
	}, interval)
	return nil
}

// network is the pod network of a node.
type network struct {
	// hostIP is the address of this node.
	hostIP   string
	file     string
	addRoute func(*netlink.Route) error
	written  []byte
}

// apply writes the CNI configuration if node is this node, and adds routes to its pods
// otherwise. It does nothing until the node has an address and pod ranges.
func (n *network) apply(node *corev1.Node) error {
	addresses := internalIPs(node)
	if slices.ContainsFunc(addresses, net.ParseIP(n.hostIP).Equal) {
		return n.configure(node.Spec.PodCIDRs)
	}
	var failed []error
	for _, pods := range node.Spec.PodCIDRs {
		_, destination, err := net.ParseCIDR(pods)
		if err != nil {
			return err
		}
		for _, gateway := range addresses {
			if (gateway.To4() == nil) == (destination.IP.To4() == nil) {
				failed = append(failed, n.addRoute(&netlink.Route{Dst: destination, Gw: gateway}))
			}
		}
	}
	return errors.Join(failed...)
}

// configure writes the CNI configuration for the pod ranges, if it has changed.
func (n *network) configure(ranges []string) error {
	if len(ranges) == 0 {
		return nil
	}
	configuration, err := configuration(ranges)
	if err != nil || slices.Equal(configuration, n.written) {
		return err
	}
	// The container runtime reads every file of the directory, so rename a complete one.
	temporary := filepath.Join(filepath.Dir(n.file), ".podnetwork")
	if err := os.WriteFile(temporary, configuration, 0o644); err != nil { //nolint:gosec // the container runtime reads it
		return err
	}
	if err := os.Rename(temporary, n.file); err != nil {
		return err
	}
	n.written = configuration
	slog.Info("Wrote CNI configuration", "ranges", ranges)
	return nil
}

// configuration returns the CNI configuration for the pod ranges. The plugin ptp gives
// each pod a link to the node, and hides the pod's address from other networks.
func configuration(ranges []string) ([]byte, error) {
	type object map[string]any
	subnets := make([][]object, 0, len(ranges))
	routes := make([]object, 0, len(ranges))
	for _, pods := range ranges {
		_, parsed, err := net.ParseCIDR(pods)
		if err != nil {
			return nil, fmt.Errorf("parse pod range of this node: %w", err)
		}
		subnets = append(subnets, []object{{"subnet": pods}})
		all := "0.0.0.0/0"
		if parsed.IP.To4() == nil {
			all = "::/0"
		}
		routes = append(routes, object{"dst": all})
	}
	return json.Marshal(object{
		"cniVersion": "1.0.0", "name": "podnetwork",
		"plugins": []object{
			{
				"type": "ptp", "ipMasq": true,
				"ipam": object{"type": "host-local", "dataDir": "/run/cni-ipam-state", "ranges": subnets, "routes": routes},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	})
}

func internalIPs(node *corev1.Node) []net.IP {
	var found []net.IP
	for _, address := range node.Status.Addresses {
		if ip := net.ParseIP(address.Address); address.Type == corev1.NodeInternalIP && ip != nil {
			found = append(found, ip)
		}
	}
	return found
}
