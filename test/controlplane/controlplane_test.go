package controlplane

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

func TestControlPlane_restartKeepsCredentials(t *testing.T) {
	ctx := t.Context()
	cp := start(t)
	config, err := clientcmd.BuildConfigFromFlags("", cp.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	admin := newClient(t, config)
	if err := CreateNamespace(ctx, admin, "kept"); err != nil {
		t.Fatal(err)
	}
	minted, err := admin.CoreV1().ServiceAccounts("kept").CreateToken(ctx, "default", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	keys := get(t, cp, "/openid/v1/jwks")

	restarts := map[string]func(){
		"stopped": func() {
			if err := cp.StopAPIServer(ctx); err != nil {
				t.Fatal(err)
			}
		},
		"killed": cp.KillAPIServer,
	}
	for name, end := range restarts {
		t.Run(name, func(t *testing.T) {
			end()
			if _, err := admin.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err == nil {
				t.Fatal("the API server still responds")
			}
			if err := cp.StartAPIServer(ctx); err != nil {
				t.Fatal(err)
			}

			if _, err := admin.CoreV1().Namespaces().Get(ctx, "kept", metav1.GetOptions{}); err != nil {
				t.Errorf("with the old kubeconfig: got %v", err)
			}
			account := rest.AnonymousClientConfig(config)
			account.BearerToken = minted.Status.Token
			review, err := newClient(t, account).AuthenticationV1().SelfSubjectReviews().
				Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
			if err != nil {
				t.Errorf("with the old ServiceAccount token: got %v", err)
			} else if got, want := review.Status.UserInfo.Username, "system:serviceaccount:kept:default"; got != want {
				t.Errorf("got user %q of the old ServiceAccount token, want %q", got, want)
			}
			if got := get(t, cp, "/openid/v1/jwks"); got != keys {
				t.Errorf("got issuer's keys\n%s\nwant\n%s", got, keys)
			}
		})
	}
}

func TestControlPlane_userGroups(t *testing.T) {
	const name = "system:node:x"
	cp, err := Start(t.Context(), Options{Dir: t.TempDir(), Log: t.Output(), Users: []User{{Name: name, Groups: []string{"system:nodes", "others"}}}})
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Stop()
	review, err := newClient(t, cp.ConfigOf(name)).AuthenticationV1().SelfSubjectReviews().
		Create(t.Context(), &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	got := review.Status.UserInfo
	if got.Username != name || !slices.Contains(got.Groups, "system:nodes") || !slices.Contains(got.Groups, "others") || slices.Contains(got.Groups, "system:masters") {
		t.Errorf("got user %s with groups %v", got.Username, got.Groups)
	}
}

func TestControlPlane_serviceAccountAdmission(t *testing.T) {
	cp := start(t)
	client := newClient(t, cp.Config())
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "pod"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	stored, err := client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stored.Spec.ServiceAccountName != "default" || len(stored.Spec.Volumes) != 1 {
		t.Errorf("got ServiceAccount %q and %d volumes, want default and the volume with the token for the API server",
			stored.Spec.ServiceAccountName, len(stored.Spec.Volumes))
	}
}

func TestControlPlane_issuerDiscovery(t *testing.T) {
	cp := start(t)
	document := get(t, cp, "/.well-known/openid-configuration")
	for _, want := range []string{
		`"issuer":"` + cp.Issuer() + `"`,
		`"jwks_uri":"` + cp.Issuer() + `/openid/v1/jwks"`,
		`"RS256"`,
	} {
		if !strings.Contains(document, want) {
			t.Errorf("the discovery document lacks %s:\n%s", want, document)
		}
	}
	if !strings.HasPrefix(cp.Issuer(), "https://127.0.0.1:") {
		t.Errorf("got issuer %s, want one on loopback", cp.Issuer())
	}
}

func TestStart_missingBinaries(t *testing.T) {
	_, err := Start(t.Context(), Options{Assets: t.TempDir(), Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "make assets") {
		t.Errorf("got %v, want an error with `make assets`", err)
	}
}

func TestStart_processExits(t *testing.T) {
	assets := t.TempDir()
	for _, name := range []string{"etcd", "kube-apiserver"} {
		script := "#!/bin/sh\necho " + name + ": no space left on disk\nexit 3\n"
		if err := os.WriteFile(filepath.Join(assets, name), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Start(t.Context(), Options{Assets: assets, Dir: t.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "etcd: no space left on disk") {
		t.Errorf("got %v, want an error with the exit status and the log", err)
	}
}

func TestStart_contextCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Options{Dir: t.TempDir()}); err == nil {
		t.Error("got no error")
	}
}

func start(t *testing.T) *ControlPlane {
	t.Helper()
	cp, err := Start(t.Context(), Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	return cp
}

func newClient(t *testing.T, config *rest.Config) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// get returns a document of the API server, read without credentials.
func get(t *testing.T, cp *ControlPlane, path string) string {
	t.Helper()
	client, err := cp.AnonymousClient()
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Get(cp.url() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s\n%s", path, response.Status, body)
	}
	return string(body)
}

// TestConfig_isNotExemptFromPriorityAndFairness checks the FlowSchema that the API server
// assigned a request to.
func TestConfig_isNotExemptFromPriorityAndFairness(t *testing.T) {
	cp := start(t)
	client := newClient(t, cp.Config())
	schema, err := client.FlowcontrolV1().FlowSchemas().Get(t.Context(), "global-default", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	httpClient, err := rest.HTTPClientFor(cp.Config())
	if err != nil {
		t.Fatal(err)
	}
	response, err := httpClient.Get(cp.Config().Host + "/api/v1/namespaces/default")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get(flowcontrolv1.ResponseHeaderMatchedFlowSchemaUID); got != string(schema.UID) {
		t.Errorf("got FlowSchema %q, want %q, global-default", got, schema.UID)
	}
}
