// Package upgrade_test upgrades an installation while pods are created with failurePolicy Fail.
// One test upgrades from the reference's manifests to this version. Another upgrades from the
// previous release to this one and back.
package upgrade_test

import (
	"context"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// patience is the time limit of eventually.
	patience = 2 * time.Minute
	// pods is the number of pods that all clients together create in each state.
	pods = 64
)

// cluster is the control plane that all tests share, one after the other. It has an API
// server's default limits.
var cluster *controlplane.ControlPlane

func TestMain(m *testing.M) {
	os.Exit(controlplane.RunTests(nil, func(shared *controlplane.ControlPlane) (int, error) {
		cluster = shared
		return m.Run(), nil
	}))
}

func newClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// file returns the file in an environment variable that `make upgrade-test` sets.
func file(t *testing.T, variable string) string {
	t.Helper()
	path := os.Getenv(variable)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%s=%q: %v; run `make upgrade-test`", variable, path, err)
	}
	return path
}

func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		last = condition(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s: %v", what, patience, last)
	}
}
