package inject_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/corpus"
)

// debugged returns the pod of a case as it is stored, with ephemeral containers.
func debugged(t *testing.T, c *corpus.Case, ephemeral string) []byte {
	t.Helper()
	_, patched := decideCase(t, c)
	document := parse(patched)
	document.(map[string]any)["spec"].(map[string]any)["ephemeralContainers"] = parse([]byte(ephemeral))
	encoded, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

func TestEphemeralContainersOfTheCorpus(t *testing.T) {
	const one = `[{"name":"first","image":"x"}]`
	cases := map[string]*corpus.Case{}
	for _, c := range loadCorpus(t) {
		cases[c.Name] = &c
	}
	tests := []struct {
		name, of, ephemeral string
		existing            int
		pod                 inject.Reason
		container           inject.Reason
		env                 string
	}{
		{"the pod's identity", "minimal", one, 0, inject.Injected, inject.Injected, "[AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE]"},
		{"the volume under its other name", "volume-name-taken", one, 0, inject.Injected, inject.Injected, "[AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE]"},
		{"EKS Pod Identity", "container-credentials", one, 0, inject.Injected, inject.Injected, "[AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE]"},
		{"a chained role", "chain", one, 0, inject.Injected, inject.Injected, "[AWS_CONFIG_FILE AWS_SDK_LOAD_CONFIG]"},
		{"region and STS", "region-and-sts", one, 0, inject.Injected, inject.Injected, "[AWS_STS_REGIONAL_ENDPOINTS AWS_DEFAULT_REGION AWS_REGION AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE]"},
		{"only those that are new", "minimal", `[{"name":"old"},{"name":"new"}]`, 1, inject.Injected, inject.Injected, "[AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE]"},
		{"none that is new", "minimal", one, 1, inject.NoContainer, "", ""},
		{"its own identity", "minimal", `[{"name":"first","env":[{"name":"AWS_ROLE_ARN","value":"x"}]}]`, 0, inject.Injected, inject.MountOnly, "[]"},
		{"one that is skipped", "skip-containers", `[{"name":"log"}]`, 0, inject.NoContainer, inject.SkipContainers, "[]"},
		{"no role", "no-role", one, 0, inject.NoRole, "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := cases[test.of]
			if c == nil {
				t.Fatalf("there is no case %s", test.of)
			}
			pod := debugged(t, c, test.ephemeral)
			result, patched := patchEphemeral(t, c, pod, test.existing)
			if result.Reason != test.pod {
				t.Errorf("the pod is %s, want %s", result.Reason, test.pod)
			}
			if test.container == "" {
				if len(result.Containers) != 0 || result.Patch != nil {
					t.Errorf("got %+v %s", result.Containers, result.Patch)
				}
				return
			}
			if got := result.Containers[0]; got.Reason != test.container || fmt.Sprint(got.Env) != test.env {
				t.Errorf("the container is %+v", got)
			}
			if fault := lost(pod, patched); fault != "" {
				t.Error(fault)
			}
			before, after := parse(pod), parse(patched)
			for _, document := range []any{before, after} {
				delete(document.(map[string]any)["spec"].(map[string]any), "ephemeralContainers")
			}
			if fmt.Sprint(before) != fmt.Sprint(after) {
				t.Errorf("more than the ephemeral containers has changed:\nbefore %v\nafter  %v", before, after)
			}
			if again, _ := patchEphemeral(t, c, patched, test.existing); again.Patch != nil {
				t.Errorf("a second time the patch is %s", again.Patch)
			}
		})
	}
}

func TestAPodWithoutTheVolumeCannotBeHelped(t *testing.T) {
	for _, c := range loadCorpus(t) {
		if c.Name != "minimal" {
			continue
		}
		pod := []byte(`{"spec":{"serviceAccountName":"app","containers":[{"name":"app"}],"ephemeralContainers":[{"name":"first"}]}}`)
		if result, _ := patchEphemeral(t, &c, pod, 0); result.Reason != inject.NoTokenVolume || result.Patch != nil {
			t.Errorf("got %+v", result)
		}
	}
}

func patchEphemeral(t *testing.T, c *corpus.Case, pod []byte, existing int) (inject.Result, []byte) {
	t.Helper()
	view, err := decode(pod)
	if err != nil {
		t.Fatal(err)
	}
	result, err := inject.PatchEphemeral(view, existing, c.Identity(), c.Settings.Inject())
	if err != nil {
		t.Fatal(err)
	}
	patched, err := apply(pod, result.Patch)
	if err != nil {
		t.Fatal(err)
	}
	return result, patched
}
