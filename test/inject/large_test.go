package inject_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// The size of a large but common pod: 6 containers with 25 variables each.
const (
	largePodContainers = 6
	largePodVariables  = 25
)

func TestLargePod_generated(t *testing.T) {
	golden(t, "testdata/large/"+testcases.PodFile, largePod())
}

// largePod returns the generated manifest of a large pod.
func largePod() []byte {
	var manifest strings.Builder
	manifest.WriteString(`# A pod of 6 containers with 25 variables each. TestLargePod_generated
# writes this file.
apiVersion: v1
kind: Pod
metadata:
  name: app
spec:
  serviceAccountName: app
  containers:
`)
	for c := range largePodContainers {
		fmt.Fprintf(&manifest, "    - name: app-%d\n      image: %s\n      env:\n", c, image)
		for v := range largePodVariables {
			fmt.Fprintf(&manifest, "        - {name: SETTING_%d, value: \"https://service-%d.example.com/some/path\"}\n", v, v)
		}
	}
	return []byte(manifest.String())
}
