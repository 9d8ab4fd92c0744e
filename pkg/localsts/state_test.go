package localsts_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
)

func options(file string) localsts.Options {
	return localsts.Options{AccountID: account, AdminAccessKeyID: adminKey, AdminSecretAccessKey: adminSecret, StateFile: file}
}

func withStateFile(file string) func(*localsts.Options) {
	return func(o *localsts.Options) { o.StateFile = file }
}

func TestStateFile_restart(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	d := newTestServer(t, nil, withStateFile(file))
	d.createRole(t, "checkout", trust)
	info, err := os.Stat(file)
	expectNone(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("got file mode %v, want 0600", info.Mode())
	}
	_, err = newTestServer(t, nil, withStateFile(file)).iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("checkout")})
	expectNone(t, err)
	entries, err := os.ReadDir(filepath.Dir(file))
	expectNone(t, err)
	if len(entries) != 1 {
		t.Errorf("got files %v, want only the state file", entries)
	}
}

func TestStateFile_invalid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	_, err := localsts.New(options(file))
	expectNone(t, err)
	valid, err := os.ReadFile(file)
	expectNone(t, err)
	changed := func(change func(map[string]any)) string {
		var state map[string]any
		if err := json.Unmarshal(valid, &state); err != nil {
			t.Fatal(err)
		}
		change(state)
		content, err := json.Marshal(state)
		expectNone(t, err)
		return string(content)
	}
	for name, content := range map[string]string{
		"empty":           "",
		"not JSON":        "{",
		"truncated":       string(valid[:len(valid)/2]),
		"another format":  changed(func(s map[string]any) { s["format"] = 2 }),
		"another account": changed(func(s map[string]any) { s["accountId"] = "444455556666" }),
		"no session key":  changed(func(s map[string]any) { delete(s, "sessionKey") }),
		"no roles":        changed(func(s map[string]any) { delete(s, "roles") }),
		"role is null":    changed(func(s map[string]any) { s["roles"] = map[string]any{"x": nil} }),
		"role without a trust policy": changed(func(s map[string]any) {
			s["roles"] = map[string]any{"x": map[string]any{"name": "x", "path": "/", "id": "AROAX"}}
		}),
		"provider with another URL": changed(func(s map[string]any) {
			s["openIDConnectProviders"] = map[string]any{providerARN: map[string]any{"url": "https://other.example.com"}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			expectNone(t, os.WriteFile(file, []byte(content), 0o600))
			_, err := localsts.New(options(file))
			if err == nil || !strings.Contains(err.Error(), file) {
				t.Fatalf("got %v, want an error that contains the file name", err)
			}
			left, err := os.ReadFile(file)
			expectNone(t, err)
			if string(left) != content {
				t.Error("rejected file was changed")
			}
		})
	}
}

func TestStateFile_notWritable(t *testing.T) {
	if _, err := localsts.New(options(filepath.Join(t.TempDir(), "missing", "state.json"))); err == nil {
		t.Error("no error for a file in a missing directory")
	}
	if _, err := localsts.New(options(t.TempDir())); err == nil {
		t.Error("no error for a directory")
	}
}

func TestStateFile_writeError(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "state")
	expectNone(t, os.Mkdir(directory, 0o700))
	file := filepath.Join(directory, "state.json")
	d := newTestServer(t, nil, withStateFile(file))
	d.createRole(t, "before", trust)
	// Rename the directory, so that writes fail. Permissions would not stop root.
	expectNone(t, os.Rename(directory, directory+"-away"))
	client, ctx := d.iam(), t.Context()
	_, err := client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("lost"), AssumeRolePolicyDocument: aws.String(trust)})
	expectError(t, err, "InternalFailure", 500, "The request processing has failed because of an unknown error, exception or failure.")
	_, err = client.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("before"), Tags: tagsOf("a", "b")})
	expectError(t, err, "InternalFailure", 500, "The request processing has failed...")
	_, err = client.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("lost")})
	expectType[*types.NoSuchEntityException](t, err)
	before, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("before")})
	expectNone(t, err)
	if len(before.Role.Tags) != 0 {
		t.Errorf("failed call set tags: %v", before.Role.Tags)
	}
	expectNone(t, os.Rename(directory+"-away", directory))
	_, err = client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("after"), AssumeRolePolicyDocument: aws.String(trust)})
	expectNone(t, err)
}

func TestNew_invalidOptions(t *testing.T) {
	for name, change := range map[string]func(*localsts.Options){
		"invalid account ID":    func(o *localsts.Options) { o.AccountID = "1234" },
		"invalid access key ID": func(o *localsts.Options) { o.AdminAccessKeyID = "short" },
		"empty secret":          func(o *localsts.Options) { o.AdminSecretAccessKey = "" },
		"invalid policy ARN":    func(o *localsts.Options) { o.PolicyARNs = []string{"ReadOnlyAccess"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := options("")
			change(&o)
			if _, err := localsts.New(o); err == nil {
				t.Error("got no error")
			}
		})
	}
}
