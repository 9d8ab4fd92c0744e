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
	// podRange is the address range of pods. Only the node has a route to it.
	podRange = "10.244.0.0/24"
	// nodeLink is the name of the node's interface to the machine.
	nodeLink = "eth0"
	// networks is the number of networks that chooseNetwork checks.
	networks = 64
)

// network is a network of two addresses: the machine's and the node's.
type network struct {
	machine, node net.IPNet
}

// chooseNetwork returns a network to which the machine has no route except the
// default route. It returns an error if there is none. The networks are part of
// 198.18.0.0/15, which RFC 2544 reserves for tests, so they hide no other network.
func chooseNetwork() (network, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return network{}, fmt.Errorf("list routes: %w", err)
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
	return network{}, errors.New("choose network: the machine has routes to all of 198.18.7.0/24")
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

// link returns the name of the machine's interface to the node.
func (c *cluster) link() string { return "irsa-" + c.id() }

// connect creates a pair of interfaces between the machine and a process's network namespace.
func (n network) connect(link string, pid int) error {
	attributes := netlink.NewLinkAttrs()
	attributes.Name = link
	veth := &netlink.Veth{LinkAttrs: attributes, PeerName: nodeLink, PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("create interface %s: %w", link, err)
	}
	return setLinkUp(link, &n.machine)
}

// setLinkUp sets an interface's address, if it is not nil, and its state to up.
func setLinkUp(name string, address *net.IPNet) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find interface %s: %w", name, err)
	}
	if address != nil {
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: address}); err != nil {
			return fmt.Errorf("add to interface %s address %s: %w", name, address, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set interface %s up: %w", name, err)
	}
	return nil
}

// raiseNode sets up the node's interfaces and routes. It runs in the node's namespace.
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
	// kube-proxy rewrites the destination of packets to Services, but the kernel drops
	// packets without a route first. There is no default route: pods reach only the machine.
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: services}); err != nil {
		return fmt.Errorf("add route to %s: %w", services, err)
	}
	return nil
}

// removeLink removes the machine's interface and waits until it is gone. The kernel
// also removes it, some time after the last process of the node exits.
func (c *cluster) removeLink(ctx context.Context) error {
	return wait.PollUntilContextCancel(ctx, cleanInterval, true, func(context.Context) (bool, error) {
		link, err := netlink.LinkByName(c.link())
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return true, nil
		}
		if err != nil {
			return false, fmt.Errorf("find interface %s: %w", c.link(), err)
		}
		_ = netlink.LinkDel(link) // the next poll checks the result
		return false, nil
	})
}
