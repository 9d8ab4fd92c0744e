package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// podRange is where pods have their addresses. Only the node knows of it.
	podRange = "10.244.0.0/24"
	// nodeLink is the node's interface to the machine.
	nodeLink = "eth0"
	// networks is how many are tried.
	networks = 64
)

// network is a network of two: the machine, and the node.
type network struct {
	machine, node net.IPNet
}

// chooseNetwork returns one that the machine has no other route to than, perhaps,
// the default one. They are of 198.18.0.0/15, which is for tests within a network,
// see RFC 2544, so that no other network is hidden by it.
func chooseNetwork() (network, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return network{}, fmt.Errorf("list the machine's routes: %w", err)
	}
	for i := range byte(networks) {
		mask := net.CIDRMask(30, 32)
		n := network{
			machine: net.IPNet{IP: net.IPv4(198, 18, 7, 4*i+1), Mask: mask},
			node:    net.IPNet{IP: net.IPv4(198, 18, 7, 4*i+2), Mask: mask},
		}
		if !routed(routes, n.node.IP) {
			return n, nil
		}
	}
	return network{}, errors.New("choose a network: the machine has routes to all of 198.18.7.0/24")
}

func routed(routes []netlink.Route, address net.IP) bool {
	for _, route := range routes {
		if route.Dst == nil {
			continue
		}
		if ones, _ := route.Dst.Mask.Size(); ones > 0 && route.Dst.Contains(address) {
			return true
		}
	}
	return false
}

// link is the name of the machine's interface to the node.
func (c *cluster) link() string { return "irsa-" + c.id() }

// connect connects the machine with the namespace of a process.
func (n network) connect(link string, pid int) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = link
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: nodeLink, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("make the interface %s: %w", link, err)
	}
	return setLinkUp(link, &n.machine)
}

// setLinkUp gives an interface its address, if it has none by itself, and uses it.
func setLinkUp(name string, address *net.IPNet) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find the interface %s: %w", name, err)
	}
	if address != nil {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: address}); err != nil {
			return fmt.Errorf("give the interface %s the address %s: %w", name, address, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("use the interface %s: %w", name, err)
	}
	return nil
}

// raiseNode does so inside of the node.
func (c *cluster) raiseNode() error {
	if err := setLinkUp("lo", nil); err != nil {
		return err
	}
	if err := setLinkUp(nodeLink, &net.IPNet{IP: net.ParseIP(c.address).To4(), Mask: net.CIDRMask(30, 32)}); err != nil {
		return err
	}
	link, err := netlink.LinkByName(nodeLink)
	if err != nil {
		return err
	}
	_, services, err := net.ParseCIDR(controlplane.ServiceRange)
	if err != nil {
		return err
	}
	// kube-proxy gives what goes to a Service another destination, but only when
	// there is a way. It is the only one: pods reach nothing beyond the machine.
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: services}); err != nil {
		return fmt.Errorf("add a route to %s: %w", services, err)
	}
	return nil
}

// removeLink removes the machine's interface, unless the kernel has already, as it
// does some time after the last process of the node is gone.
func (c *cluster) removeLink(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, cleanInterval, true, func(context.Context) (bool, error) {
		link, err := netlink.LinkByName(c.link())
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("find the interface %s: %w", c.link(), err)
		}
		_ = netlink.LinkDel(link) // whether it did is asked again
		return false, nil
	})
}
