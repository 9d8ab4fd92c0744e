// Package testcases reads the test cases for the webhook's decisions. Each case is a
// directory with a pod as users write it, its ServiceAccount, the settings that differ
// from the defaults, and the expected pod. The cases of ephemeral containers are in their
// own subdirectory.
package testcases

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// The files of a case. The settings and the golden files may be absent: a skipped pod has
// no PatchFile, and a new case has no golden files yet.
const (
	PodFile            = "pod.yaml"
	ServiceAccountFile = "serviceaccount.yaml"
	SettingsFile       = "settings.yaml"
	PatchFile          = "patch.json"
	GoldenPodFile      = "pod.golden.yaml"
	GoldenResultFile   = "result.golden.yaml"
)

// Two subdirectories are not cases.
const (
	// fuzzDir has the inputs that `go test -fuzz` found.
	fuzzDir = "fuzz"
	// ephemeralDir has the cases of ephemeral containers.
	ephemeralDir = "ephemeral"
)

// Case is a pod and the expected result. Its manifests have no namespace, so that any
// namespace can be used. An API server accepts them in strict mode; some only after the
// webhook has added a volume that they mount. The names repeat, so a namespace can have
// the objects of one case at a time.
type Case struct {
	// Name is the name of the directory, Dir its path.
	Name, Dir string
	// Pod is the user's pod. PodJSON is the same as bytes; in it, empty lists are
	// different from absent ones.
	Pod     corev1.Pod
	PodJSON []byte
	// ServiceAccount is the pod's ServiceAccount. It disables the token for the API server,
	// because the volume of that token would have a random name.
	ServiceAccount corev1.ServiceAccount
	Settings       Settings
	// GoldenPod is the pod after the webhook, or nil if it is not recorded yet. Both pods
	// are without the API server's defaults.
	GoldenPod *corev1.Pod
}

// Load returns the cases in dir, ordered by name. It returns an error for a file or
// directory that is not part of a case.
func Load(dir string) ([]Case, error) {
	return loadEach(dir, func(dir string) (Case, error) { return load(dir) })
}

// loadEach calls load for each directory of a case in dir.
func loadEach[C any](dir string, load func(dir string) (C, error)) ([]C, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var cases []C
	for _, entry := range entries {
		if entry.Name() == fuzzDir || entry.Name() == ephemeralDir {
			continue
		}
		c, err := load(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", entry.Name(), err)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%s has no cases", dir)
	}
	return cases, nil
}

// load reads a case. more are the names of additional files that this kind of case has.
func load(dir string, more ...string) (Case, error) {
	if err := checkFiles(dir, more); err != nil {
		return Case{}, err
	}
	c := Case{Name: filepath.Base(dir), Dir: dir, Settings: Defaults()}
	files := os.DirFS(dir)
	var err error
	if c.PodJSON, err = readManifest(files, PodFile, &c.Pod); err != nil {
		return Case{}, err
	}
	if _, err := readManifest(files, ServiceAccountFile, &c.ServiceAccount); err != nil {
		return Case{}, err
	}
	if _, err := readManifest(files, SettingsFile, &c.Settings); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Case{}, err
	}
	var golden corev1.Pod
	switch _, err := readManifest(files, GoldenPodFile, &golden); {
	case err == nil:
		c.GoldenPod = &golden
	case !errors.Is(err, fs.ErrNotExist):
		return Case{}, err
	}
	return c, c.check()
}

func checkFiles(dir string, more []string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	known := append([]string{PodFile, ServiceAccountFile, SettingsFile, PatchFile, GoldenPodFile, GoldenResultFile}, more...)
	for _, entry := range entries {
		if !slices.Contains(known, entry.Name()) {
			return fmt.Errorf("%s is not part of a case; valid names are %q", entry.Name(), known)
		}
	}
	return nil
}

// check returns an error if the case violates the documentation of Case.
func (c *Case) check() error {
	switch {
	case c.Pod.APIVersion != "v1" || c.Pod.Kind != "Pod":
		return fmt.Errorf("%s has a %s of %q", PodFile, c.Pod.Kind, c.Pod.APIVersion)
	case c.ServiceAccount.APIVersion != "v1" || c.ServiceAccount.Kind != "ServiceAccount":
		return fmt.Errorf("%s has a %s of %q", ServiceAccountFile, c.ServiceAccount.Kind, c.ServiceAccount.APIVersion)
	case c.Pod.Namespace != "" || c.ServiceAccount.Namespace != "":
		return errors.New("a manifest has a namespace")
	case c.Pod.Spec.ServiceAccountName != "" && c.Pod.Spec.ServiceAccountName != c.ServiceAccount.Name:
		return fmt.Errorf("the pod's ServiceAccount is %q, want the case's %q", c.Pod.Spec.ServiceAccountName, c.ServiceAccount.Name)
	case c.ServiceAccount.AutomountServiceAccountToken == nil || *c.ServiceAccount.AutomountServiceAccountToken:
		return errors.New("the ServiceAccount must have automountServiceAccountToken: false")
	}
	return nil
}
