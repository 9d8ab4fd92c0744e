package testcases

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// EphemeralFile is an additional file of cases of ephemeral containers.
const EphemeralFile = "ephemeral.yaml"

// EphemeralCase is a running pod to which ephemeral containers are added. Its Pod is the
// pod before, including earlier ephemeral containers. An API server accepts those only
// through the subresource. Its GoldenPod is the pod with the new ones after the webhook.
type EphemeralCase struct {
	Case
	// Added are the new ephemeral containers.
	Added []corev1.EphemeralContainer
	// ChangedJSON is PodJSON with Added at the end of the list.
	ChangedJSON []byte
}

// LoadEphemeral returns the cases of ephemeral containers below dir, the directory of Load.
func LoadEphemeral(dir string) ([]EphemeralCase, error) {
	return loadEach(filepath.Join(dir, ephemeralDir), loadEphemeral)
}

func loadEphemeral(dir string) (EphemeralCase, error) {
	common, err := load(dir, EphemeralFile)
	if err != nil {
		return EphemeralCase{}, err
	}
	// The form of a patch of the pod for `kubectl patch`.
	var patch struct {
		Spec struct {
			EphemeralContainers []corev1.EphemeralContainer `json:"ephemeralContainers"`
		} `json:"spec"`
	}
	document, err := readManifest(os.DirFS(dir), EphemeralFile, &patch)
	if err != nil {
		return EphemeralCase{}, err
	}
	c := EphemeralCase{Case: common, Added: patch.Spec.EphemeralContainers}
	if len(c.Added) == 0 {
		return EphemeralCase{}, errors.New(EphemeralFile + " adds no container")
	}
	c.ChangedJSON, err = withEphemeralContainers(c.PodJSON, document)
	return c, err
}

// withEphemeralContainers returns a pod with the ephemeral containers of a patch after the
// existing ones.
func withEphemeralContainers(pod, patch []byte) ([]byte, error) {
	var changed, added map[string]any
	if err := errors.Join(json.Unmarshal(pod, &changed), json.Unmarshal(patch, &added)); err != nil {
		return nil, fmt.Errorf("add ephemeral containers: %w", err)
	}
	spec, ok := changed["spec"].(map[string]any)
	if !ok {
		return nil, errors.New("the pod has no spec")
	}
	const list = "ephemeralContainers"
	existing, _ := spec[list].([]any)
	spec[list] = append(existing, added["spec"].(map[string]any)[list].([]any)...)
	return json.Marshal(changed)
}
