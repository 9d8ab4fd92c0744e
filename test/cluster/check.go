package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
)

// packages are the programs that are the machine's, and Debian's packages of them.
var packages = map[string]string{
	"containerd":              "containerd",
	"containerd-shim-runc-v2": "containerd",
	"ctr":                     "containerd",
	"runc":                    "runc",
	// kube-proxy calls it.
	"nft": "nftables",
}

// check says all at once what is missing on this machine, and how to get it.
func check() error {
	var missing []error
	for _, program := range slices.Sorted(maps.Keys(packages)) {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Errorf("%s is missing: `apt-get install %s`, or whatever your system calls that package", program, packages[program]))
		}
	}
	if len(missing) > 0 {
		missing = append(missing, errors.New("on Debian, test/cluster/install gets all of these"))
	}
	return errors.Join(append(missing, checkRoot())...)
}

// checkRoot says whether this is root, which suffices to remove a cluster.
func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("only root may start containers and make interfaces: run it by `sudo`, or as root")
	}
	return nil
}
