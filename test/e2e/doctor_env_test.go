package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// The namespace, the ServiceAccount and pod, and the role that doctor checks.
const (
	testNamespace = "shop"
	testPod       = "cart"
	cartRole      = "shop-cart"
	cartRoleARN   = "arn:aws:iam::111122223333:role/shop-cart"
	cartAudience  = "sts.amazonaws.com"
)

// doctorEnv is its own cluster with a webhook, a fake AWS, and an issuer whose faults
// the tests control.
type doctorEnv struct {
	plane   *controlplane.ControlPlane
	client  kubernetes.Interface
	issuer  *fakeIssuer
	webhook *webhookprocess.Webhook
	aws     *stsprocess.Server
	// dir has the CAs of the issuer and the webhook, and a kubeconfig.
	dir string
}

// fakeIssuer forwards to the API server's issuer endpoints, or injects a fault.
type fakeIssuer struct {
	*httptest.Server
	upstream atomic.Pointer[controlplane.ControlPlane]
	// fault is "", "down", "foreign key" or "uploaded".
	fault atomic.Value
	// site serves the uploaded files, if there are any.
	site atomic.Pointer[http.Handler]
}

// upload serves the files of a directory in place of the API server's documents.
func (i *fakeIssuer) upload(directory string) {
	files := http.FileServer(http.Dir(directory))
	i.site.Store(&files)
	i.fault.Store("uploaded")
}

func newFakeIssuer(t *testing.T) *fakeIssuer {
	t.Helper()
	i := &fakeIssuer{}
	i.fault.Store("")
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *fakeIssuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch fault := i.fault.Load(); {
	case fault == "down":
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	case fault == "foreign key" && strings.HasSuffix(r.URL.Path, "/jwks"):
		key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "another-key", Algorithm: "ES256", Use: "sig"}}})
		return
	}
	if i.fault.Load() == "uploaded" {
		(*i.site.Load()).ServeHTTP(w, r)
		return
	}
	plane := i.upstream.Load()
	client, err := plane.AnonymousClient()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(r.Context(), http.MethodGet, plane.Config().Host+r.URL.Path, nil)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	answer, err := client.Do(request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(w, answer.Body)
}

func newDoctorEnv(t *testing.T) *doctorEnv {
	t.Helper()
	c := &doctorEnv{dir: t.TempDir(), issuer: newFakeIssuer(t)}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.issuer.Certificate().Raw})
	c.write(t, "issuer-ca.pem", ca)
	var err error
	if c.plane, err = controlplane.Start(t.Context(), controlplane.Options{Dir: t.TempDir(), Log: t.Output(), Issuer: c.issuer.URL}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.plane.Stop)
	c.issuer.upstream.Store(c.plane)
	if c.client, err = kubernetes.NewForConfig(c.plane.Config()); err != nil {
		t.Fatal(err)
	}
	if c.aws, err = stsprocess.Start(t.Context(), stsprocess.Options{
		Binary: os.Getenv("LOCAL_STS"), Dir: t.TempDir(), IssuerCAFile: filepath.Join(c.dir, "issuer-ca.pem"),
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.aws.Stop)
	c.webhook, err = webhookprocess.Start(t.Context(), webhookprocess.Options{
		Binary: os.Getenv("WEBHOOK"), Cluster: c.plane, Dir: t.TempDir(), Args: []string{"--shutdown-delay=0s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.webhook.Kill)
	c.write(t, "CA.pem", c.webhook.CABundle())
	return c
}

func (c *doctorEnv) write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// environment returns the variables of an administrator: a PATH with kubectl and the
// plugin, and the credentials of AWS's administrator. It has none of the test's.
func (c *doctorEnv) environment(t *testing.T) []string {
	t.Helper()
	credentials, err := c.aws.AdminConfig().Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tools := filepath.Join(c.dir, "bin")
	if err := os.MkdirAll(tools, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{
		"kubectl": filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "kubectl-irsa": pluginBinary(t),
	} {
		if err := os.Symlink(target, filepath.Join(tools, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	return []string{
		"PATH=" + tools + ":" + os.Getenv("PATH"), "HOME=" + c.dir, "KUBECONFIG=" + c.plane.Kubeconfig(),
		"AWS_ENDPOINT_URL=" + c.aws.URL(), "AWS_REGION=us-east-1", "SSL_CERT_FILE=" + filepath.Join(c.dir, "issuer-ca.pem"),
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
	}
}

// awsShim is a fake aws command. For get-role it prints the file that writeTrustPolicies
// wrote. It records the arguments of update-assume-role-policy, and updateTrustPolicy runs
// the call.
const awsShim = `aws() {
  if [ "$1 $2 $3 $5 $6 $7 $8" = "iam get-role --role-name --query Role.AssumeRolePolicyDocument --output json" ]; then cat "trust-policy-$4"; return; fi
  [ "$1 $2 $3 $5" = "iam update-assume-role-policy --role-name --policy-document" ] || { echo "fake aws: unknown command: $*" >&2; return 1; }
  printf '%s' "$4" >role-name; printf '%s' "$6" >policy-document
}
`

// shell runs a command line in bash and returns its output.
func (c *doctorEnv) shell(t *testing.T, line string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c.writeTrustPolicies(t)
	command := exec.CommandContext(ctx, "bash", "-c", "set -o pipefail\n"+awsShim+line)
	command.Dir, command.Env = c.dir, c.environment(t)
	answer, err := command.CombinedOutput()
	if err == nil {
		err = c.updateTrustPolicy(t)
	}
	return string(answer), err
}

// must runs a command line and fails the test if it fails.
func (c *doctorEnv) must(t *testing.T, line string) {
	t.Helper()
	if answer, err := c.shell(t, line); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, answer)
	}
}

// doctor runs kubectl irsa doctor and returns its standard output and its exit code.
func (c *doctorEnv) doctor(t *testing.T, args ...string) (string, int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), pluginBinary(t), append([]string{"doctor", "-n", testNamespace}, args...)...)
	command.Dir, command.Env = c.dir, c.environment(t)
	var errors bytes.Buffer
	command.Stderr = &errors
	answer, err := command.Output()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	if errors.Len() > 0 {
		t.Errorf("doctor %v: got standard error %q, want none", args, errors.String())
	}
	return string(answer), command.ProcessState.ExitCode()
}

// reset removes all faults and recreates all objects.
func (c *doctorEnv) reset(t *testing.T) {
	t.Helper()
	c.issuer.fault.Store("")
	select {
	case <-c.webhook.Ended():
		if err := c.webhook.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	default:
	}
	configurations := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if err := configurations.Delete(t.Context(), webhookprocess.ConfigurationName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	if err := c.webhook.Register(t.Context(), c.client, webhookprocess.RegisterOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.CoreV1().Namespaces().Get(t.Context(), testNamespace, metav1.GetOptions{}); apierrors.IsNotFound(err) {
		if err := controlplane.CreateNamespace(t.Context(), c.client, testNamespace); err != nil {
			t.Fatal(err)
		}
	}
	c.must(t, "kubectl delete pods,secrets --all -n shop --wait; kubectl delete serviceaccount cart -n shop --ignore-not-found; kubectl label namespace shop eks.amazonaws.com/pod-identity-webhook-")
	c.resetAWS(t)
	c.must(t, "kubectl irsa provider create --approve && kubectl irsa serviceaccount create cart -n shop --role-name shop-cart --approve")
	c.createPod(t, nil)
}

// createPod creates the test pod with the change.
func (c *doctorEnv) createPod(t *testing.T, change func(*corev1.Pod)) {
	t.Helper()
	pod := podOf(testPod, testPod)
	if change != nil {
		change(pod)
	}
	if _, err := c.client.CoreV1().Pods(testNamespace).Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// replacePod deletes the test pod and creates it again with the change.
func (c *doctorEnv) replacePod(t *testing.T, change func(*corev1.Pod)) {
	t.Helper()
	c.must(t, "kubectl delete pod cart -n shop --wait")
	c.createPod(t, change)
}

// normalizeOutput replaces the parts of doctor's output that differ by machine and time.
func (c *doctorEnv) normalizeOutput(text string) string {
	for _, replacement := range []struct{ found, instead string }{
		{c.issuer.URL, "https://oidc.example.com/id"},
		{strings.TrimPrefix(c.issuer.URL, "https://"), "oidc.example.com/id"},
		{c.webhook.URL(), "https://webhook.example.com"},
		{strings.TrimPrefix(c.webhook.URL(), "https://"), "webhook.example.com:443"},
		{c.aws.URL(), "https://sts.example.com"},
	} {
		text = strings.ReplaceAll(text, replacement.found, replacement.instead)
	}
	for _, replacement := range []struct {
		found   *regexp.Regexp
		instead string
	}{
		{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "2026-01-02T15:04:05Z"},
		{regexp.MustCompile(`"[A-Za-z0-9_-]{43}"`), `"Ktqr4zq5hQ8ZJ5w0v3bC4v6y0d1cQ2c9vX0aQe7u1nM"`},
		{regexp.MustCompile(`request [0-9a-f-]{36}`), "request 00000000-0000-0000-0000-000000000000"},
		{regexp.MustCompile(`e2e-\d+`), "e2e"},
	} {
		text = replacement.found.ReplaceAllString(text, replacement.instead)
	}
	return text
}

// waitRegistered waits until the API server applies a changed webhook configuration,
// which takes a moment.
func (c *doctorEnv) waitRegistered(t *testing.T, what string, seen func(context.Context) error) {
	t.Helper()
	within(t, 30*time.Second, what, seen)
}

// admitted creates a pod as a dry run and reports whether it gets a role.
func (c *doctorEnv) admitted(ctx context.Context) (hasRole bool, err error) {
	pod, err := c.client.CoreV1().Pods(testNamespace).Create(ctx, podOf("dry-run", testPod), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return false, err
	}
	return roleOf(pod) != "", nil
}

// waitForIdentity waits until new pods have an identity, or have none.
func (c *doctorEnv) waitForIdentity(t *testing.T, want bool) {
	t.Helper()
	c.waitRegistered(t, fmt.Sprintf("new pods have an identity: %t", want), func(ctx context.Context) error {
		if got, err := c.admitted(ctx); err != nil || got != want {
			return fmt.Errorf("got %t, error %w", got, err)
		}
		return nil
	})
}
