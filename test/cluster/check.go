package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
)

// packages maps the required programs to the Debian packages that have them.
var packages = map[string]string{
	"containerd":              "containerd",
	"containerd-shim-runc-v2": "containerd",
	"ctr":                     "containerd",
	"runc":                    "runc",
	// kube-proxy runs it.
	"nft": "nftables",
}

// check returns one error that lists all missing programs and their packages.
func check() error {
	var missing []error
	for _, program := range slices.Sorted(maps.Keys(packages)) {
		if _, err := exec.LookPath(program); err != nil {
			missing = append(missing, fmt.Errorf("%s is missing; run `apt-get install %s`, or install the package of your distribution", program, packages[program]))
		}
	}
	if len(missing) > 0 {
		missing = append(missing, errors.New("on Debian, test/cluster/install installs all of them"))
	}
	return errors.Join(append(missing, checkRoot())...)
}

// checkRoot returns an error if this process is not root. To remove a cluster, root
// is the only requirement.
func checkRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("containers and network interfaces need root; run this command with sudo")
	}
	return nil
}
