package inject_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
)

// TestAWSConfig_readableBySDK reads the AWS configurations with the AWS SDK. The end-to-end
// tests check that they lead to credentials.
func TestAWSConfig_readableBySDK(t *testing.T) {
	read := 0
	for _, c := range loadTestCases(t) {
		d := decision{before: &c.Pod, id: c.Identity(), settings: c.Settings.Inject()}
		_, patched := decideCase(t, &c)
		text, chained := toPod(t, patched).Annotations[configAnnotation]
		if _, own := c.Pod.Annotations[configAnnotation]; own || !chained {
			continue
		}
		read++
		t.Run(c.Name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			target, err := config.LoadSharedConfigProfile(t.Context(), "default", func(o *config.LoadSharedConfigOptions) {
				o.ConfigFiles, o.CredentialsFiles = []string{file}, []string{}
			})
			if err != nil {
				t.Fatal(err)
			}
			source := target.Source
			if target.RoleARN != d.id.TargetRoleARN || target.ExternalID != d.id.TargetExternalID || source == nil {
				t.Fatalf("got role %s, external ID %q, source %+v", target.RoleARN, target.ExternalID, source)
			}
			directory := c.Settings.MountPath
			if strings.HasPrefix(c.Name, "chain-fallback") {
				directory = c.Settings.FallbackMountPath
			}
			d.before = toPod(t, c.PodJSON)
			if want := d.known(directory, "token"); source.RoleARN != d.id.RoleARN || source.WebIdentityTokenFile != want {
				t.Errorf("got source role %s with token file %s, want %s and %s", source.RoleARN, source.WebIdentityTokenFile, d.id.RoleARN, want)
			}
			want := d.session()
			if want == fromElsewhere {
				want = ""
			}
			if target.RoleSessionName != want || source.RoleSessionName != want {
				t.Errorf("got session names %q and %q, want %q", target.RoleSessionName, source.RoleSessionName, want)
			}
		})
	}
	if read < 5 {
		t.Errorf("got only %d configurations, want more", read)
	}
}
