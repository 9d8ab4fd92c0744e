package controlplane

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// assetsVariable is the ecosystem's convention for naming a directory with
// prebuilt control plane binaries.
const assetsVariable = "KUBEBUILDER_ASSETS"

// DefaultAssets is the directory named by KUBEBUILDER_ASSETS or, when that is not
// set, the one into which this repository builds its control plane.
func DefaultAssets() string {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return dir
	}
	return repopath.Path("bin", "assets")
}

// binaries are the paths of the programs that are run.
type binaries struct{ etcd, apiServer string }

func findBinaries(dir string) (binaries, error) {
	if dir == "" {
		dir = DefaultAssets()
	}
	found := binaries{
		etcd:      filepath.Join(dir, "etcd"),
		apiServer: filepath.Join(dir, "kube-apiserver"),
	}
	for _, path := range []string{found.etcd, found.apiServer} {
		if _, err := os.Stat(path); err != nil {
			return binaries{}, fmt.Errorf("find the control plane: %w; build it with `make assets`, or set %s to a directory that has it", err, assetsVariable)
		}
	}
	return found, nil
}
