package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func node(name string, addresses, ranges []string) *corev1.Node {
	made := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDRs: ranges}}
	made.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}}
	for _, address := range addresses {
		made.Status.Addresses = append(made.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: address})
	}
	return made
}

func TestApply(t *testing.T) {
	var routes []string
	refuse := false
	n := network{hostIP: "10.89.0.2", file: filepath.Join(t.TempDir(), "10-podnetwork.conflist"), addRoute: func(route *netlink.Route) error {
		if refuse {
			return errors.New("network is unreachable")
		}
		routes = append(routes, route.Dst.String()+" via "+route.Gw.String())
		return nil
	}}
	for _, other := range []*corev1.Node{
		node("not-ready", nil, nil),
		node("without-address", nil, []string{"10.244.3.0/24"}),
		node("self-without-range", []string{"10.89.0.2"}, nil),
	} {
		if err := n.apply(other); err != nil {
			t.Errorf("%s: got %v", other.Name, err)
		}
	}
	if _, err := os.Stat(n.file); !os.IsNotExist(err) || len(routes) > 0 {
		t.Errorf("got configuration (%v) and routes %v of nodes that are not complete, want none", err, routes)
	}

	if err := n.apply(node("worker", []string{"10.89.0.3", "fc00::3"}, []string{"10.244.1.0/24", "fd00:10:244:1::/64"})); err != nil {
		t.Error(err)
	}
	if want := []string{"10.244.1.0/24 via 10.89.0.3", "fd00:10:244:1::/64 via fc00::3"}; !slices.Equal(routes, want) {
		t.Errorf("got routes %v, want %v", routes, want)
	}
	refuse = true
	if err := n.apply(node("worker", []string{"10.89.0.3"}, []string{"10.244.1.0/24"})); err == nil {
		t.Error("got no error for a route that the kernel denies")
	}

	self := node("self", []string{"10.89.0.2"}, []string{"10.244.0.0/24"})
	if err := n.apply(self); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(n.file)
	if err != nil {
		t.Fatal(err)
	}
	var configuration struct {
		Plugins []struct{ Type string }
	}
	if err := json.Unmarshal(content, &configuration); err != nil {
		t.Fatal(err)
	}
	if len(configuration.Plugins) != 2 || configuration.Plugins[0].Type != "ptp" || !strings.Contains(string(content), `{"subnet":"10.244.0.0/24"}`) {
		t.Errorf("got configuration %s", content)
	}
	if err := os.Remove(n.file); err != nil {
		t.Fatal(err)
	}
	if err := n.apply(self); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(n.file); !os.IsNotExist(err) {
		t.Errorf("got file written twice (%v), want an unchanged configuration written once", err)
	}
}

func TestConfiguration_dualStack(t *testing.T) {
	content, err := configuration([]string{"10.244.0.0/24", "fd00:10:244::/64"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"ranges":[[{"subnet":"10.244.0.0/24"}],[{"subnet":"fd00:10:244::/64"}]]`, `"routes":[{"dst":"0.0.0.0/0"},{"dst":"::/0"}]`} {
		if !strings.Contains(string(content), want) {
			t.Errorf("got %s, want %s in it", content, want)
		}
	}
	if _, err := configuration([]string{"10.244.0.0"}); err == nil {
		t.Error("got no error for an invalid range")
	}
}
