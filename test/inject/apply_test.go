package inject_test

import (
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
)

// apply applies a patch to a pod's JSON as an API server does, with the same library
// (k8s.io/apiserver/pkg/admission/plugin/webhook/mutating). An empty patch changes nothing.
func apply(pod, patch []byte) ([]byte, error) {
	if patch == nil {
		return pod, nil
	}
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, fmt.Errorf("decode patch: %w", err)
	}
	for _, operation := range operations {
		if kind := operation.Kind(); kind != "add" {
			return nil, fmt.Errorf("the patch has a %q operation, want only add", kind)
		}
	}
	return operations.Apply(pod)
}
