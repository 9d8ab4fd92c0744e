package main

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestCheck_reportsAllMissing(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if err := os.WriteFile(filepath.Join(dir, "runc"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"check", "up"} {
		err := realMain(t.Context(), []string{"-dir=" + dir, verb}, &bytes.Buffer{})
		if err == nil {
			t.Fatalf("%s: got no error", verb)
		}
		for _, want := range []string{"containerd is missing; run `apt-get install containerd`", "ctr is missing", "nft is missing; run `apt-get install nftables`"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %q, want %q in it", verb, err, want)
			}
		}
		if strings.Contains(err.Error(), "runc is missing") {
			t.Errorf("%s: got %q, want nothing about runc, which is installed", verb, err)
		}
	}
}

func TestDown_keepsUnrelatedResources(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "unrelated")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := cluster{dir: dir}
	if err := c.clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func TestChooseNetwork(t *testing.T) {
	route := func(network string) netlink.Route {
		_, parsed, err := net.ParseCIDR(network)
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Route{Dst: parsed}
	}
	for name, test := range map[string]struct {
		routes []netlink.Route
		want   bool
	}{
		"none":                       {nil, false},
		"default route":              {[]netlink.Route{{}, route("0.0.0.0/0")}, false},
		"adjacent network":           {[]netlink.Route{route("198.18.7.4/30")}, false},
		"network of another cluster": {[]netlink.Route{route("10.0.0.0/8"), route("198.18.7.0/30")}, true},
		"enclosing network":          {[]netlink.Route{route("198.18.0.0/15")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := routed(test.routes, net.IPv4(198, 18, 7, 2)); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestMountCgroups(t *testing.T) {
	for options, want := range map[string]string{
		"rw,memory": "memory",
		"rw,xattr,name=systemd,release_agent=/bin/true": "none,name=systemd",
	} {
		if _, err := os.Stat("/sys/fs/cgroup/memory"); err != nil && want == "memory" {
			continue // the kernel may not have this controller
		}
		got, err := controllers(options)
		if err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", options, got, err, want)
		}
	}
}
