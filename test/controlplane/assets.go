package controlplane

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// assetsVariable is envtest's variable for a directory with prebuilt control plane
// binaries.
const assetsVariable = "KUBEBUILDER_ASSETS"

// DefaultAssets returns the directory in KUBEBUILDER_ASSETS. If the variable is not set, it
// returns the directory into which make builds the control plane.
func DefaultAssets() string {
	if dir := os.Getenv(assetsVariable); dir != "" {
		return dir
	}
	return repopath.Path("bin", "assets")
}

// binaries are the paths of the programs.
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
			return binaries{}, fmt.Errorf("find control plane binaries: %w; run `make assets`, or set %s to a directory with the binaries", err, assetsVariable)
		}
	}
	return found, nil
}
