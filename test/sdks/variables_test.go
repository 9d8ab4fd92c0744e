package sdks_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/containerenv"
)

// reach is the number of SDKs that use the injected identity and region although the
// container sets a variable.
type reach string

const (
	all  reach = "all"
	some reach = "some"
	none reach = "none"
)

// variableCase is a container with its own variables. In values, STORE is replaced with the
// URL of a server without STS, and DIR with a directory of files.
type variableCase struct {
	name string
	env  []string
	// agent is true for EKS Pod Identity, noEndpoint if the ServiceAccount has no
	// sts-endpoint, and noRegion if the webhook has no region.
	agent, noEndpoint, noRegion bool
	want                        reach
}

const (
	// regionalSTS makes SDKs call the STS of their region. Without it, older SDKs always sign
	// STS calls for legacyRegion
	// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-sts-regionalized-endpoints.html).
	regionalSTS  = "AWS_STS_REGIONAL_ENDPOINTS=regional"
	legacyRegion = "us-east-1"
)

// TestSDKs_variablesOfContainer compares the webhook's warnings with the behavior of SDKs. It
// must warn about a container if, and only if, some SDK does not use the identity or has no
// region.
func TestSDKs_variablesOfContainer(t *testing.T) {
	keys := []string{"AWS_ACCESS_KEY_ID=AKIAKEYS", "AWS_SECRET_ACCESS_KEY=x"}
	cases := []variableCase{
		{name: "no variables", want: all},
		{name: "access keys", env: keys, want: none},
		{name: "an access key ID", env: keys[:1], want: some},
		{name: "a secret key", env: keys[1:], want: all},
		{name: "a session token", env: []string{"AWS_SESSION_TOKEN=x"}, want: all},
		{name: "empty keys", env: []string{"AWS_ACCESS_KEY_ID=", "AWS_SECRET_ACCESS_KEY="}, want: all},
		{name: "keys in old variables", env: []string{"AWS_ACCESS_KEY=AKIAKEYS", "AWS_SECRET_KEY=x"}, want: some},
		{name: "a profile that does not exist", env: []string{"AWS_PROFILE=other"}, want: some},
		{name: "an empty profile", env: []string{"AWS_PROFILE="}, want: some},
		{name: "a default profile that does not exist", env: []string{"AWS_DEFAULT_PROFILE=other"}, want: some},
		{name: "a file with credentials", env: []string{"AWS_SHARED_CREDENTIALS_FILE=DIR/credentials"}, want: some},
		{name: "a configuration with credentials", env: []string{"AWS_CONFIG_FILE=DIR/config"}, want: some},
		{name: "empty files", env: []string{"AWS_SHARED_CREDENTIALS_FILE=", "AWS_CONFIG_FILE="}, want: all},
		{name: "the agent's variables", env: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI=STORE/agent", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=DIR/token"}, want: all},
		{name: "an agent's relative URL", env: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x"}, want: all},
		{name: "no metadata service", env: []string{"AWS_EC2_METADATA_DISABLED=true"}, want: all},
		{name: "an endpoint for all services", env: []string{"AWS_ENDPOINT_URL=STORE/store"}, noEndpoint: true, want: some},
		{name: "an endpoint for all services, and one for STS", env: []string{"AWS_ENDPOINT_URL=STORE/store", "AWS_ENDPOINT_URL_STS=STORE"}, noEndpoint: true, want: all},
		{name: "an endpoint for all services with sts-endpoint", env: []string{"AWS_ENDPOINT_URL=STORE/store"}, want: all},
		{name: "endpoints are ignored", env: []string{"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS=true"}, want: some},
		{name: "a session name with a space", env: []string{"AWS_ROLE_SESSION_NAME=a b"}, want: none},
		{name: "a short session name", env: []string{"AWS_ROLE_SESSION_NAME=a"}, want: none},
		{name: "an empty session name", env: []string{"AWS_ROLE_SESSION_NAME="}, want: some},
		{name: "an unknown kind of STS endpoints", env: []string{"AWS_STS_REGIONAL_ENDPOINTS=x"}, want: some},
		{name: "an empty kind of STS endpoints", env: []string{"AWS_STS_REGIONAL_ENDPOINTS="}, want: all},
		{name: "AWS_REGION", env: []string{"AWS_REGION=" + region}, want: some},
		{name: "AWS_DEFAULT_REGION", env: []string{"AWS_DEFAULT_REGION=" + region}, want: some},
		{name: "both variables of the region", env: []string{"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region}, want: all},
		{name: "an empty AWS_REGION", env: []string{"AWS_REGION=", "AWS_DEFAULT_REGION=" + region}, want: some},
		{name: "an empty AWS_DEFAULT_REGION", env: []string{"AWS_REGION=" + region, "AWS_DEFAULT_REGION="}, want: some},
		{name: "an empty region, and no region in the webhook", env: []string{"AWS_REGION="}, noRegion: true, want: none},
		{name: "an empty role", env: []string{"AWS_ROLE_ARN="}, want: none},
		{name: "an empty token file", env: []string{"AWS_WEB_IDENTITY_TOKEN_FILE="}, want: none},
		{name: "an empty web identity", env: []string{"AWS_ROLE_ARN=", "AWS_WEB_IDENTITY_TOKEN_FILE="}, want: none},
		{name: "a role without a token file", env: []string{"AWS_ROLE_ARN=" + appRole}, want: none},

		{name: "only an agent", agent: true, want: all},
		{name: "an agent and a web identity", agent: true, env: []string{"AWS_ROLE_ARN=" + foreignRole, "AWS_WEB_IDENTITY_TOKEN_FILE=DIR/token"}, want: none},
		{name: "an agent and a role", agent: true, env: []string{"AWS_ROLE_ARN=" + foreignRole}, want: all},
		{name: "an agent and a token file", agent: true, env: []string{"AWS_WEB_IDENTITY_TOKEN_FILE=DIR/token"}, want: some},
		{name: "an agent and an empty web identity", agent: true, env: []string{"AWS_ROLE_ARN=", "AWS_WEB_IDENTITY_TOKEN_FILE="}, want: all},
		{name: "an agent and keys", agent: true, env: keys, want: none},
		{name: "an agent and a profile", agent: true, env: []string{"AWS_PROFILE=other"}, want: some},
		{name: "an agent and a file with credentials", agent: true, env: []string{"AWS_SHARED_CREDENTIALS_FILE=DIR/credentials"}, want: none},
		{name: "an agent and a relative URL", agent: true, env: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/x"}, want: some},
		{name: "an agent and an empty relative URL", agent: true, env: []string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI="}, want: some},
		{name: "an agent and a token in a variable", agent: true, env: []string{"AWS_CONTAINER_AUTHORIZATION_TOKEN=other"}, want: all},
		{name: "an empty URL of the agent", agent: true, env: []string{"AWS_CONTAINER_CREDENTIALS_FULL_URI="}, want: none},
	}
	found := installed(t)
	var mu sync.Mutex
	used := map[string][]string{}
	missed := map[string][]string{}
	t.Run("SDKs", func(t *testing.T) {
		for _, s := range found {
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				w := newVariableWorld(t, s)
				for _, c := range cases {
					if c.agent && s.noTokenFile {
						continue
					}
					got := w.run(t, c)
					key := "AKIAROLE"
					if c.agent {
						key = "AKIAAGENT"
					}
					want := []string{key + " in " + region}
					if !slices.Contains(decideVariables(t, c, "/token", "https://store.example.com").env, regionalSTS) {
						want = append(want, key+" in "+legacyRegion)
					}
					mu.Lock()
					if slices.Contains(want, got) {
						used[c.name] = append(used[c.name], s.name)
					} else {
						missed[c.name] = append(missed[c.name], fmt.Sprintf("%s (%s)", s.name, got))
					}
					mu.Unlock()
				}
			})
		}
	})
	for _, c := range cases {
		wrong := (c.want == all) != (len(missed[c.name]) == 0) || c.want == none && len(used[c.name]) > 0
		if wrong {
			t.Errorf("%s: got identity used by %q and not by %q, want it used by %s", c.name, used[c.name], missed[c.name], c.want)
		}
		if warnings := decideVariables(t, c, "/token", "https://store.example.com").warnings; (len(warnings) > 0) != (c.want != all) {
			t.Errorf("%s: identity used by %s, got warnings %q", c.name, c.want, warnings)
		}
	}
}

// decided is the webhook's decision about the environment of a case.
type decided struct {
	env      []string
	warnings []string
}

// decideVariables calls the webhook's code with a pod of one container.
func decideVariables(t *testing.T, c variableCase, dir, server string) decided {
	t.Helper()
	settings := inject.Settings{
		AnnotationPrefix: "eks.amazonaws.com", MountPath: dir, Region: region,
		ContainerCredentials: inject.ContainerCredentials{FullURI: server + "/agent", MountPath: dir, TokenPath: "token", VolumeName: "token"},
	}
	if c.noRegion {
		settings.Region = ""
	}
	id := &identity.Identity{
		Method: identity.WebIdentity, RoleARN: appRole, Audience: audience, ExpirationSeconds: 3600,
		RegionalSTS: true, SessionName: "session", STSEndpoint: server,
	}
	switch {
	case c.agent:
		id = &identity.Identity{Method: identity.ContainerCredentials, Audience: audience, ExpirationSeconds: 3600}
	case c.noEndpoint:
		id.STSEndpoint = ""
	}
	pod := corev1.Pod{Spec: corev1.PodSpec{ServiceAccountName: "app", Containers: []corev1.Container{{Name: "app"}}}}
	for _, variable := range c.env {
		name, value, _ := strings.Cut(variable, "=")
		value = strings.NewReplacer("DIR", dir, "STORE", server).Replace(value)
		pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: name, Value: value})
	}
	document, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	view, err := inject.ReadPod(document)
	if err != nil {
		t.Fatal(err)
	}
	result := inject.Patch(view, id, settings)
	patch, err := jsonpatch.DecodePatch(result.Patch)
	if err != nil {
		t.Fatal(err)
	}
	if document, err = patch.Apply(document); err != nil {
		t.Fatal(err)
	}
	var after corev1.Pod
	if err := json.Unmarshal(document, &after); err != nil {
		t.Fatal(err)
	}
	var d decided
	for _, variable := range after.Spec.Containers[0].Env {
		d.env = append(d.env, variable.Name+"="+variable.Value)
	}
	for _, warning := range result.Warnings {
		d.warnings = append(d.warnings, warning.Message)
	}
	return d
}

// variableWorld is the environment of one SDK: servers with STS, with an agent and with
// neither, and the files that variables name.
type variableWorld struct {
	sdk    sdk
	dir    string
	server *httptest.Server
}

func newVariableWorld(t *testing.T, s sdk) *variableWorld {
	t.Helper()
	w := &variableWorld{sdk: s, dir: t.TempDir(), server: httptest.NewServer(http.HandlerFunc(serveVariables))}
	t.Cleanup(w.server.Close)
	const profile = "[default]\naws_access_key_id = AKIAFILE\naws_secret_access_key = x\n"
	for name, content := range map[string]string{"token": "the-token", "credentials": profile, "config": profile} {
		writeFile(t, filepath.Join(w.dir, name), []byte(content))
	}
	return w
}

// run returns the credentials and the region that the SDK uses.
func (w *variableWorld) run(t *testing.T, of variableCase) string {
	t.Helper()
	c := &containerenv.Container{Env: decideVariables(t, of, w.dir, w.server.URL).env}
	// Without a metadata service, an SDK without credentials fails immediately.
	env := []string{"AWS_EC2_METADATA_DISABLED=true"}
	if w.sdk.needsAWSNames {
		env = append(env, newNetwork(t, w.server.URL).env...)
	} else if of.agent {
		env = append(env, "AWS_ENDPOINT_URL_STS="+w.server.URL)
	}
	got, err := w.sdk.try(t, c, env, "whoami")
	switch {
	case err != nil:
		return err.Error()
	case got.ARN == "":
		return got.Error.Message
	default:
		_, name, _ := strings.Cut(got.ARN, "/")
		return strings.ReplaceAll(name, "@", " in ")
	}
}

// credential matches the part of a signature with access key and region.
var credential = regexp.MustCompile(`Credential=([A-Z]+)/\d+/([^/]*)/`)

// serveVariables is an agent, a store without STS, or an STS, depending on the path.
func serveVariables(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/agent":
		if r.Header.Get("Authorization") != "the-token" {
			http.Error(w, "missing token", http.StatusUnauthorized)
			return
		}
		_, _ = fmt.Fprint(w, `{"AccessKeyId":"AKIAAGENT","SecretAccessKey":"x","Token":"x","Expiration":"2099-01-01T00:00:00Z"}`)
		return
	case "/":
	default:
		http.Error(w, "not an STS", http.StatusNotImplemented)
		return
	}
	_ = r.ParseForm()
	action := r.Form.Get("Action")
	result := temporaryCredentials("AKIAROLE")
	if action == "AssumeRoleWithWebIdentity" {
		valid := r.Form.Get("WebIdentityToken") == "the-token" && identity.IsSessionName(r.Form.Get("RoleSessionName"))
		if !valid || !slices.Contains([]string{appRole, foreignRole}, r.Form.Get("RoleArn")) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprint(w, `<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>`+
				`<Code>ValidationError</Code><Message>no such session</Message></Error></ErrorResponse>`)
			return
		}
		if r.Form.Get("RoleArn") == foreignRole {
			result = temporaryCredentials("AKIAFOREIGN")
		}
	} else {
		by := append(credential.FindStringSubmatch(r.Header.Get("Authorization")), "", "", "")
		result = fmt.Sprintf("<Arn>arn:aws:sts::%s:assumed-role/%s@%s</Arn><UserId>x</UserId><Account>%[1]s</Account>", accountID, by[1], by[2])
	}
	w.Header().Set("Content-Type", "text/xml")
	_, _ = fmt.Fprintf(w, `<%[1]sResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}
