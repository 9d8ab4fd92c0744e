package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/testcerts"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// The files in docs/client-certificates.md. The test replaces the directory and the
// webhook's host name.
const (
	admissionConfiguration = `apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
  - name: MutatingAdmissionWebhook
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: WebhookAdmissionConfiguration
      kubeConfigFile: /etc/kubernetes/webhook/kubeconfig.yaml
  - name: ValidatingAdmissionWebhook
    configuration:
      apiVersion: apiserver.config.k8s.io/v1
      kind: WebhookAdmissionConfiguration
      kubeConfigFile: /etc/kubernetes/webhook/kubeconfig.yaml
`
	admissionKubeconfig = `apiVersion: v1
kind: Config
users:
  - name: pod-identity-webhook.eks.svc
    user:
      client-certificate: /etc/kubernetes/webhook/client.crt
      client-key: /etc/kubernetes/webhook/client.key
`
)

func TestClientCA_documentedFiles(t *testing.T) {
	page, err := os.ReadFile("../../docs/client-certificates.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{admissionConfiguration, admissionKubeconfig} {
		if !strings.Contains(string(page), "```yaml\n"+file+"```\n") {
			t.Errorf("docs/client-certificates.md does not contain the file\n%s", file)
		}
	}
}

// clientCertEnv is its own control plane, whose API server presents a client
// certificate, and a webhook that requires one.
type clientCertEnv struct {
	controlPlane *controlplane.ControlPlane
	client       kubernetes.Interface
	webhook      *webhookprocess.Webhook
	authority    *testcerts.Authority
	// dir has the API server's files. caFile is the webhook's --client-ca-file.
	dir, caFile string
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// startGuarded starts both. users are the user names in the API server's kubeconfig.
func startGuarded(t *testing.T, port int, users ...string) *clientCertEnv {
	t.Helper()
	g := &clientCertEnv{dir: t.TempDir(), authority: must[*testcerts.Authority](t)(testcerts.NewAuthority())}
	g.caFile = filepath.Join(g.dir, "ca.crt")
	g.replace(t, "ca.crt", g.authority.PEM())
	g.issueForTheAPIServer(t, g.authority)
	here := strings.NewReplacer("/etc/kubernetes/webhook", g.dir)
	g.replace(t, "admission.yaml", []byte(here.Replace(admissionConfiguration)))
	head, user, _ := strings.Cut(here.Replace(admissionKubeconfig), "  - name: pod-identity-webhook.eks.svc\n")
	for _, name := range users {
		head += "  - name: " + strconv.Quote(name) + "\n" + user
	}
	g.replace(t, "kubeconfig.yaml", []byte(head))

	g.controlPlane = must[*controlplane.ControlPlane](t)(controlplane.Start(t.Context(), controlplane.Options{
		Dir: t.TempDir(), Log: t.Output(), APIServerFlags: []string{"--admission-control-config-file=" + filepath.Join(g.dir, "admission.yaml")},
	}))
	t.Cleanup(g.controlPlane.Stop)
	g.client = must[kubernetes.Interface](t)(kubernetes.NewForConfig(g.controlPlane.Config()))
	g.webhook = startWebhookOf(t, webhookprocess.Options{
		Cluster: g.controlPlane, Port: port, Args: []string{"--client-ca-file=" + g.caFile},
	})
	for _, name := range []string{"first", "second"} {
		createServiceAccount(t, g.client, "default", name)
	}
	return g
}

func (g *clientCertEnv) replace(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := testcerts.Replace(filepath.Join(g.dir, file), content); err != nil {
		t.Fatal(err)
	}
}

func (g *clientCertEnv) issueForTheAPIServer(t *testing.T, by *testcerts.Authority) {
	t.Helper()
	issued := must[testcerts.Certificate](t)(by.Issue(testcerts.Options{Name: "kube-apiserver"}))
	g.replace(t, "client.crt", issued.Certificate)
	g.replace(t, "client.key", issued.Key)
}

// createPod creates a pod of a ServiceAccount with a role. It returns an error if the
// pod has no role.
func (g *clientCertEnv) createPod(ctx context.Context) error {
	pod := podOf("", "first")
	pod.GenerateName = "pod-"
	stored, err := g.client.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
	if err == nil && roleOf(stored) != appRole {
		err = errors.New("the pod has no role")
	}
	return err
}

// TestClientCA_rejectsOtherClients configures the webhook by URL.
func TestClientCA_rejectsOtherClients(t *testing.T) {
	port := must[int](t)(freeport.FreePort(t.Context()))
	g := startGuarded(t, port, freeport.Address(port))
	if err := g.webhook.Register(t.Context(), g.client, webhookprocess.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := g.createPod(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := must[*testcerts.Authority](t)(testcerts.NewAuthority())
	for name, test := range map[string]struct {
		by      *testcerts.Authority
		options testcerts.Options
		message string
	}{
		"no certificate":     {nil, testcerts.Options{}, "--admission-control-config-file"},
		"another CA":         {other, testcerts.Options{Name: "kube-apiserver"}, "unknown authority"},
		"expired":            {g.authority, testcerts.Options{Name: "kube-apiserver", Expired: true}, "expired"},
		"server certificate": {g.authority, testcerts.Options{Name: "kube-apiserver", ForServers: true}, "incompatible key usage"},
		"kubelet's name":     {g.authority, testcerts.Options{Name: "system:node:a"}, "--client-ca-allowed-names"},
		"API server":         {g.authority, testcerts.Options{Name: "kube-apiserver"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			client := g.webhook.Client()
			if test.by != nil {
				issued := must[testcerts.Certificate](t)(test.by.Issue(test.options))
				pair, err := issued.Pair()
				if err != nil {
					t.Fatal(err)
				}
				transport := client.Transport.(*http.Transport)
				transport.TLSClientConfig.Certificates = append(transport.TLSClientConfig.Certificates, pair)
			}
			got, err := ask(t.Context(), g.webhook, client, 10*time.Second, reviewOf("default", "first"))
			if err != nil {
				t.Fatal(err)
			}
			if test.message == "" {
				if got.status != http.StatusOK {
					t.Errorf("got HTTP %d: %s, want 200", got.status, got.body)
				}
				return
			}
			if got.status != http.StatusForbidden || !strings.Contains(got.body, test.message) || strings.Contains(got.body, appRole) {
				t.Errorf("got HTTP %d: %s, want 403 and %q", got.status, got.body, test.message)
			}
			if log := must[string](t)(g.webhook.Logs()); !strings.Contains(log, test.message) {
				t.Errorf("the log does not contain %q", test.message)
			}
			if status, _, err := get(t.Context(), client, g.webhook.URL()+"/readyz"); err != nil || status != http.StatusOK {
				t.Errorf("probe: got HTTP %d, error %v", status, err)
			}
		})
	}
	scrape := scrapeOf(t, g.webhook)
	for _, want := range []string{
		`pod_identity_webhook_admissions_total{outcome="error",reason="client_certificate_missing"} 1`,
		`pod_identity_webhook_admissions_total{outcome="error",reason="client_certificate_refused"} 4`,
	} {
		if !strings.Contains(scrape, want+"\n") {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func scrapeOf(t *testing.T, webhook *webhookprocess.Webhook) string {
	t.Helper()
	response, err := http.Get(webhook.MetricsURL())
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return string(must[[]byte](t)(io.ReadAll(response.Body)))
}

// TestClientCA_rotation changes the webhook's CA file under load, without a failed
// call. First both CAs are trusted, then they are in another order. Without load, the
// API server is restarted with a certificate of the new CA, and the old CA is removed.
// Under load, calls may fail, because a running API server closes its connections when
// its files change. Finally, a file with only an unrelated CA must reject the API server.
func TestClientCA_rotation(t *testing.T) {
	port := must[int](t)(freeport.FreePort(t.Context()))
	g := startGuarded(t, port, "*")
	if err := g.webhook.Register(t.Context(), g.client, webhookprocess.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	next := must[*testcerts.Authority](t)(testcerts.NewAuthority())
	reloads := 0
	replaceCA := func(content []byte) {
		t.Helper()
		g.replace(t, "ca.crt", content)
		reloads++
		eventually(t, "the CA is reloaded", func(context.Context) error {
			if want := fmt.Sprintf(`pod_identity_webhook_client_ca_reloads_total{result="success"} %d`+"\n", reloads); !strings.Contains(scrapeOf(t, g.webhook), want) {
				return errors.New("metrics lack " + want)
			}
			return nil
		})
	}

	load := startLoad(t, g.client, "default")
	load.waitForMore(t, 100)
	replaceCA(append(g.authority.PEM(), next.PEM()...))
	load.waitForMore(t, 100)
	replaceCA(append(next.PEM(), g.authority.PEM()...))
	load.waitForMore(t, 100)
	load.stop(t)
	if refused := load.refused.Load(); refused != 0 {
		t.Errorf("got %d of %d pod creations rejected, want 0", refused, refused+load.created.Load())
	}

	g.issueForTheAPIServer(t, next)
	g.controlPlane.KillAPIServer()
	if err := g.controlPlane.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	replaceCA(next.PEM())
	eventually(t, "the API server uses its new certificate", g.createPod)

	foreign := must[*testcerts.Authority](t)(testcerts.NewAuthority())
	replaceCA(foreign.PEM())
	err := g.createPod(t.Context())
	if err == nil || !strings.Contains(err.Error(), "only the API server may send admission requests") {
		t.Errorf("got %v, want a rejection by a CA that did not sign the API server's certificate", err)
	}
}

// TestClientCA_serviceReference calls the webhook by the name of its Service, which
// resolves to this machine.
func TestClientCA_serviceReference(t *testing.T) {
	const namespace, service = "eks", "pod-identity-webhook"
	port := must[int](t)(freeport.FreePort(t.Context()))
	g := startGuarded(t, port, fmt.Sprintf("%s.%s.svc:%d", service, namespace, port))
	ctx := t.Context()
	if err := controlplane.CreateNamespace(ctx, g.client, namespace); err != nil {
		t.Fatal(err)
	}
	_, err := g.client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: service},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	registration := webhookprocess.RegisterOptions{Service: &admissionregistrationv1.ServiceReference{
		Namespace: namespace, Name: service, Path: new("/mutate"), Port: new(int32(port)),
	}}
	if err := g.webhook.Register(ctx, g.client, registration); err != nil {
		t.Fatal(err)
	}
	if err := g.createPod(ctx); err != nil {
		t.Error(err)
	}

	configurations := g.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	byURL := must[*admissionregistrationv1.MutatingWebhookConfiguration](t)(configurations.Get(ctx, webhookprocess.ConfigurationName, metav1.GetOptions{}))
	byURL.Webhooks[0].ClientConfig.Service, byURL.Webhooks[0].ClientConfig.URL = nil, new(g.webhook.URL()+"/mutate")
	if _, err := configurations.Update(ctx, byURL, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a call to a host without an entry in the kubeconfig fails with a message", func(ctx context.Context) error {
		err := g.createPod(ctx)
		if err == nil || !strings.Contains(err.Error(), "client certificate required") {
			return fmt.Errorf("got %w", err)
		}
		return nil
	})
}
