package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// mountedConfigMap is a directory with the layout of a mounted ConfigMap: the file is
// a link into ..data, which is a link to a directory. It updates as the kubelet does.
type mountedConfigMap struct {
	t    *testing.T
	root string
	n    int
}

func (m *mountedConfigMap) file() string { return filepath.Join(m.root, "config.json") }

func (m *mountedConfigMap) write(content string) {
	m.t.Helper()
	m.n++
	version := fmt.Sprintf("..version-%d", m.n)
	err := errors.Join(
		os.Mkdir(filepath.Join(m.root, version), 0o700),
		os.WriteFile(filepath.Join(m.root, version, "config.json"), []byte(content), 0o600),
		os.Symlink(version, filepath.Join(m.root, "..data_tmp")),
		os.Rename(filepath.Join(m.root, "..data_tmp"), filepath.Join(m.root, "..data")),
	)
	if m.n == 1 {
		err = errors.Join(err, os.Symlink(filepath.Join("..data", "config.json"), m.file()))
	}
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestContainerCredentials(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	list := fmt.Sprintf(`{"identities":[{"namespace":%q,"serviceAccount":"app"}]}`, namespace)
	mounted := &mountedConfigMap{t: t, root: t.TempDir()}
	mounted.write(list)
	webhook := registeredAs(t, client, webhookprocess.RegisterOptions{}, "--watch-container-credentials-config="+mounted.file())

	create := func(ctx context.Context) (*corev1.Pod, error) {
		return client.CoreV1().Pods(namespace).Create(ctx, podOf("probe", "app"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	pod, err := create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for _, variable := range pod.Spec.Containers[0].Env {
		env[variable.Name] = variable.Value
	}
	token := pod.Spec.Volumes[0].Projected
	switch {
	case pod.Labels["eks.amazonaws.com/pod-identity"] != "enabled":
		t.Errorf("got labels %v", pod.Labels)
	case env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] != "http://169.254.170.23/v1/credentials",
		env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] != "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token",
		env["AWS_ROLE_ARN"] != "":
		t.Errorf("got environment %v", env)
	case pod.Spec.Volumes[0].Name != "eks-pod-identity-token" || token == nil ||
		token.Sources[0].ServiceAccountToken.Audience != "pods.eks.amazonaws.com":
		t.Errorf("got volume %+v", pod.Spec.Volumes[0])
	}
	if seconds := *token.Sources[0].ServiceAccountToken.ExpirationSeconds; seconds < 79200 || seconds > 86400 {
		t.Errorf("got token lifetime %d s, want 79200 to 86400", seconds)
	}

	mounted.write(`{"identities": [`)
	wantMetric(t, webhook, `pod_identity_webhook_container_credentials_loads_total{result="error"} 1`)
	if pod, err := create(t.Context()); err != nil || roleOf(pod) != "" {
		t.Errorf("a malformed list replaced the last valid one: got role %q, error %v", roleOf(pod), err)
	}
	mounted.write(`{"identities": [null, ` + list[len(`{"identities":[`):])
	wantMetric(t, webhook, `pod_identity_webhook_container_credentials_invalid_entries 1`)
	wantRole(t, client, namespace, "app", "")
	mounted.write(`{"identities": [{"namespace": "` + namespace + `", "serviceAccount": null}]}`)
	wantRole(t, client, namespace, "app", appRole)
	mounted.write(list)
	wantRole(t, client, namespace, "app", "")
	mounted.write(`{"identities": []}`)
	wantRole(t, client, namespace, "app", appRole)
	mounted.write(list)
	wantRole(t, client, namespace, "app", "")
}

func TestContainerCredentials_startsWithAnyFile(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	list := fmt.Sprintf(`{"identities":[{"namespace":%q,"serviceAccount":"app"}]}`, namespace)
	for name, test := range map[string]struct {
		content, role, metric string
	}{
		"an invalid and a valid entry": {`{"identities":[{},` + list[len(`{"identities":[`):], "", "invalid_entries 1"},
		"undecodable content":          {list[:20], appRole, "last_load_successful 0"},
		"no file":                      {"", appRole, "last_load_successful 0"},
	} {
		t.Run(name, func(t *testing.T) {
			mounted := &mountedConfigMap{t: t, root: t.TempDir()}
			if test.content != "" {
				mounted.write(test.content)
			}
			webhook := registeredAs(t, client, webhookprocess.RegisterOptions{}, "--watch-container-credentials-config="+mounted.file())
			wantMetric(t, webhook, "pod_identity_webhook_container_credentials_"+test.metric)
			wantRole(t, client, namespace, "app", test.role)
			mounted.write(list)
			wantMetric(t, webhook, "pod_identity_webhook_container_credentials_identities 1")
			wantRole(t, client, namespace, "app", "")
		})
	}
}
