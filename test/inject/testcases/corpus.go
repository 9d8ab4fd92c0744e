// Package testcases owns the reading of the pods that the webhook's decisions are
// tested with: a directory for each case, with the pod as a user writes it, its
// ServiceAccount, the settings where they differ from the defaults, and the pod
// as it should be afterwards. Beside them, in a directory of their own, are the
// cases of ephemeral containers. It decides nothing and writes nothing.
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

// The files of a case. Settings and the goldens may be absent: a pod that is
// left alone has no PatchFile, and a new case has no goldens yet.
const (
	PodFile            = "pod.yaml"
	ServiceAccountFile = "serviceaccount.yaml"
	SettingsFile       = "settings.yaml"
	PatchFile          = "patch.json"
	GoldenPodFile      = "pod.golden.yaml"
	GoldenResultFile   = "result.golden.yaml"
)

// Two directories beside the cases are none of them.
const (
	// fuzzFolder is where `go test -fuzz` keeps what it found.
	fuzzFolder = "fuzz"
	// ephemeralFolder holds the cases of ephemeral containers.
	ephemeralFolder = "ephemeral"
)

// Case is one pod and what becomes of it. Its manifests have no namespace, so
// that they can be created in any, and an API server accepts them in strict
// mode; some only after the webhook has added a volume that they mount. A
// namespace holds one case at a time: the names repeat.
type Case struct {
	// Name is that of the directory, Dir its path.
	Name, Dir string
	// Pod is what the user writes; PodJSON is the same as bytes, with lists
	// that are written out and empty, which Pod cannot tell from absent ones.
	Pod     corev1.Pod
	PodJSON []byte
	// ServiceAccount is the pod's. It asks for no token of the API server, so
	// that no volume of a random name is added to the pod.
	ServiceAccount corev1.ServiceAccount
	Settings       Settings
	// GoldenPod is Pod after the webhook, nil if that is not recorded yet. An
	// API server's defaults are in neither.
	GoldenPod *corev1.Pod
}

// Load reads the cases in dir, in the order of their names. A file or directory
// that is no part of a case is an error.
func Load(dir string) ([]Case, error) {
	return loadEach(dir, func(dir string) (Case, error) { return load(dir) })
}

// loadEach reads what is in each directory of dir but in those that are no cases.
func loadEach[C any](dir string, load func(dir string) (C, error)) ([]C, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var cases []C
	for _, entry := range entries {
		if entry.Name() == fuzzFolder || entry.Name() == ephemeralFolder {
			continue
		}
		c, err := load(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("case %s: %w", entry.Name(), err)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("%s holds no cases", dir)
	}
	return cases, nil
}

// load reads a case, which may have more files than those of each case.
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
			return fmt.Errorf("%s is no part of a case: use %q", entry.Name(), known)
		}
	}
	return nil
}

// check keeps the promises of Case.
func (c *Case) check() error {
	switch {
	case c.Pod.APIVersion != "v1" || c.Pod.Kind != "Pod":
		return fmt.Errorf("%s holds a %s of %q", PodFile, c.Pod.Kind, c.Pod.APIVersion)
	case c.ServiceAccount.APIVersion != "v1" || c.ServiceAccount.Kind != "ServiceAccount":
		return fmt.Errorf("%s holds a %s of %q", ServiceAccountFile, c.ServiceAccount.Kind, c.ServiceAccount.APIVersion)
	case c.Pod.Namespace != "" || c.ServiceAccount.Namespace != "":
		return errors.New("a manifest names a namespace")
	case c.Pod.Spec.ServiceAccountName != "" && c.Pod.Spec.ServiceAccountName != c.ServiceAccount.Name:
		return fmt.Errorf("the pod's ServiceAccount is %q, the case's %q", c.Pod.Spec.ServiceAccountName, c.ServiceAccount.Name)
	case c.ServiceAccount.AutomountServiceAccountToken == nil || *c.ServiceAccount.AutomountServiceAccountToken:
		return errors.New("the ServiceAccount lacks automountServiceAccountToken: false")
	}
	return nil
}
