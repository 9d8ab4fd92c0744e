package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"

	"github.com/pod-identity-webhook/pod-identity-webhook/certs"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
)

// repairTime is much shorter than the interval of the periodic check, a minute.
const repairTime = 15 * time.Second

const (
	rotations = "pod_identity_webhook_certificate_rotations_total"
	repairs   = "pod_identity_webhook_certificate_repairs_total"
)

// TestCertificates_rotationUnderLoad uses certificate lifetimes of seconds. Meanwhile
// clients create pods with failurePolicy Fail, and other clients make TLS handshakes
// that they verify with the current caBundle.
func TestCertificates_rotationUnderLoad(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{
		"failurePolicy=Fail", "certificates.caLifetime=30s", "certificates.certLifetime=10s",
	}})
	namespace := newNamespace(t, client)
	for _, name := range []string{"first", "second"} {
		createServiceAccount(t, client, namespace, name)
	}
	errorsBefore := metric(t, started, "pod_identity_webhook_certificate_errors_total")
	pods := startLoad(t, client, namespace)
	clientHandshakes := startHandshakes(t, client, started, started.Replicas...)
	eventually(t, "two CAs and six serving certificates are replaced", func(context.Context) error {
		cas, servings := metric(t, started, rotations, "kind=ca"), metric(t, started, rotations, "kind=serving")
		if cas < 3 || servings < 7 {
			return fmt.Errorf("got %v CAs and %v serving certificates created", cas, servings)
		}
		return nil
	})
	pods.waitForMore(t, 20)
	pods.stop(t)
	clientHandshakes.stop(t)

	if got := pods.refused.Load(); got != 0 {
		t.Errorf("got %d failed calls of the webhook, want 0; last error: %v", got, pods.why.Load())
	}
	if got := metric(t, started, repairs); got != 0 {
		t.Errorf("got %v repairs of valid Secrets, want 0", got)
	}
	if got := metric(t, started, "pod_identity_webhook_certificate_errors_total") - errorsBefore; got != 0 {
		t.Errorf("got %v certificate errors, want 0", got)
	}
	t.Logf("%d pods, %d handshakes, %v CAs, %v serving certificates", pods.created.Load(), clientHandshakes.count,
		metric(t, started, rotations, "kind=ca"), metric(t, started, rotations, "kind=serving"))
}

// handshakes counts TLS handshakes with all replicas, verified as the API server does.
type handshakes struct {
	group  errgroup.Group
	cancel context.CancelFunc
	mu     sync.Mutex
	count  int
}

// startHandshakes makes handshakes with the replicas until stop.
func startHandshakes(t *testing.T, client kubernetes.Interface, started *chartinstall.Installation, replicas ...*chartinstall.Replica) *handshakes {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	h := &handshakes{cancel: cancel}
	for _, replica := range replicas {
		h.group.Go(func() error {
			for ctx.Err() == nil {
				if err := handshake(ctx, client, started.Namespace, replica.URL()); err != nil && ctx.Err() == nil {
					return err
				}
				h.mu.Lock()
				h.count++
				h.mu.Unlock()
			}
			return nil
		})
	}
	return h
}

func (h *handshakes) stop(t *testing.T) {
	t.Helper()
	h.cancel()
	if err := h.group.Wait(); err != nil {
		t.Error(err)
	}
}

// handshake connects with the current caBundle.
func handshake(ctx context.Context, client kubernetes.Interface, namespace, replica string) error {
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, chart.ClusterName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(configuration.Webhooks[0].ClientConfig.CABundle)
	parsed, err := url.Parse(replica)
	if err != nil {
		return err
	}
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: installed + "." + namespace + ".svc"}}
	connection, err := dialer.DialContext(ctx, "tcp", parsed.Host)
	if err != nil {
		return fmt.Errorf("handshake with %s: %w", replica, err)
	}
	return connection.Close()
}

func TestCertificates_concurrentStart(t *testing.T) {
	client := newClient(t)
	for range 3 {
		t.Run("", func(t *testing.T) {
			started := install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail", "replicas=3"}})
			if cas, servings := metric(t, started, rotations, "kind=ca"), metric(t, started, rotations, "kind=serving"); cas != 1 || servings != 3 {
				t.Errorf("got %v CAs and %v serving certificates created, want 1 and 3", cas, servings)
			}
			for _, replica := range started.Replicas {
				if err := handshake(t.Context(), client, started.Namespace, replica.URL()); err != nil {
					t.Error(err)
				}
			}
			namespace := newNamespace(t, client)
			createServiceAccount(t, client, namespace, "app")
			eventually(t, "the API server calls the webhook", func(ctx context.Context) error {
				_, err := client.CoreV1().Pods(namespace).Create(ctx, podOf("pod", "app"), metav1.CreateOptions{})
				return err
			})
		})
	}
}

// TestCertificates_concurrentSecretCreation starts the replicas without the chart's
// empty Secret.
func TestCertificates_concurrentSecretCreation(t *testing.T) {
	client := newClient(t)
	for range 5 {
		namespace := newNamespace(t, client)
		var replicas []*certs.Rotator
		for range 3 {
			replicas = append(replicas, startAuthority(t, namespace, time.Now))
		}
		for _, replica := range replicas {
			eventually(t, "the replica has a valid certificate", func(context.Context) error { return replica.Valid() })
		}
		secret, err := client.CoreV1().Secrets(namespace).Get(t.Context(), "certificates", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, replica := range replicas {
			wantSignedBy(t, replica, secret)
		}
	}
}

// wantSignedBy fails the test unless the first CA in the Secret signed the replica's
// serving certificate.
func wantSignedBy(t *testing.T, replica *certs.Rotator, secret *corev1.Secret) {
	t.Helper()
	served, err := replica.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := cert.ParseCertsPEM(secret.Data["ca.crt"])
	if err != nil {
		t.Fatal(err)
	}
	if err := served.Leaf.CheckSignatureFrom(authorities[0]); err != nil {
		t.Errorf("another CA signed the serving certificate: %v", err)
	}
}

// TestCertificates_existingCAStaysTrusted starts with another server's CA in the
// caBundle. That server is called until the replicas have taken over.
func TestCertificates_existingCAStaysTrusted(t *testing.T) {
	client := newClient(t)
	other := certificatesFor(t, client, newNamespace(t, client))
	namespace := newNamespace(t, client)
	service := &admissionregistrationv1.ServiceReference{Namespace: namespace, Name: installed}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: installed},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "ours.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionregistrationv1.SideEffectClassNone),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: service, CABundle: other["ca.crt"]},
		}, {
			Name: "theirs.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionregistrationv1.SideEffectClassNone),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:1"), CABundle: other["ca.crt"]},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), installed, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})

	replica := startAuthority(t, namespace, time.Now)
	eventually(t, "the replica has a valid certificate", func(context.Context) error { return replica.Valid() })
	configuration, err := configurations.Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	published := configuration.Webhooks[0].ClientConfig.CABundle
	if !bytes.Contains(published, other["ca.crt"]) || bytes.Equal(published, other["ca.crt"]) {
		t.Errorf("the caBundle does not hold both CAs: %s", published)
	}
	if !bytes.Equal(configuration.Webhooks[1].ClientConfig.CABundle, other["ca.crt"]) {
		t.Error("the caBundle of an unrelated webhook was changed")
	}
}

// TestCertificates_repairsCorruptedSecret corrupts the Secret in each way. Meanwhile
// clients create pods with failurePolicy Fail.
func TestCertificates_repairsCorruptedSecret(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail"}})
	secrets := client.CoreV1().Secrets(started.Namespace)
	good, err := secrets.Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	foreign := certificatesFor(t, client, started.Namespace)
	namespace := newNamespace(t, client)
	for _, name := range []string{"first", "second"} {
		createServiceAccount(t, client, namespace, name)
	}
	pods := startLoad(t, client, namespace)
	clientHandshakes := startHandshakes(t, client, started, started.Replicas...)

	bundle := publishedBundle(t, client)
	spoil := map[string]func(*corev1.Secret){
		"emptied":                    func(s *corev1.Secret) { s.Data = map[string][]byte{"tls.crt": {}, "tls.key": {}} },
		"ca.crt is garbage":          func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("garbage") },
		"ca.key is garbage":          func(s *corev1.Secret) { s.Data["ca.key"] = []byte("garbage") },
		"ca.key is of another CA":    func(s *corev1.Secret) { s.Data["ca.key"] = foreign["ca.key"] },
		"retired.json is garbage":    func(s *corev1.Secret) { s.Data["retired.json"] = []byte("garbage") },
		"all keys are of another CA": func(s *corev1.Secret) { s.Data = foreign },
		// Anyone who can read the caBundle could write this Secret.
		"another CA, and the original one as retired": func(s *corev1.Secret) {
			s.Data = maps.Clone(foreign)
			s.Data["ca.crt"] = slices.Concat(foreign["ca.crt"], good.Data["ca.crt"])
		},
		"ca.crt and ca.key are of another CA": func(s *corev1.Secret) { s.Data["ca.crt"], s.Data["ca.key"] = foreign["ca.crt"], foreign["ca.key"] },
		"another CA is appended":              func(s *corev1.Secret) { s.Data["ca.crt"] = slices.Concat(s.Data["ca.crt"], foreign["ca.crt"]) },
		"another CA is prepended":             func(s *corev1.Secret) { s.Data["ca.crt"] = slices.Concat(foreign["ca.crt"], s.Data["ca.crt"]) },
		"another CA and its key are appended": func(s *corev1.Secret) {
			for _, key := range []string{"ca.crt", "ca.key"} {
				s.Data[key] = slices.Concat(s.Data[key], foreign[key])
			}
		},
	}
	wantRepaired := func(what string) {
		t.Helper()
		within(t, repairTime, what+": the Secret is restored", func(ctx context.Context) error {
			now, err := secrets.Get(ctx, installed, metav1.GetOptions{})
			if err != nil {
				return err
			}
			for _, key := range []string{"ca.crt", "ca.key", "retired.json"} {
				if !bytes.Equal(now.Data[key], good.Data[key]) {
					return fmt.Errorf("%s is not restored", key)
				}
			}
			return nil
		})
		if !bytes.Equal(publishedBundle(t, client), bundle) {
			t.Errorf("%s: the caBundle was changed", what)
		}
	}
	for what, change := range spoil {
		spoilt := good.DeepCopy()
		spoilt.ResourceVersion = ""
		change(spoilt)
		if _, err := secrets.Update(t.Context(), spoilt, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		wantRepaired(what)
	}
	if err := secrets.Delete(t.Context(), installed, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	wantRepaired("deleted")
	eventually(t, "all repairs are counted", func(context.Context) error {
		if got, want := metric(t, started, repairs, "object=secret"), float64(len(spoil)+1); got < want {
			return fmt.Errorf("got %v repairs, want %v", got, want)
		}
		return nil
	})

	pods.waitForMore(t, 20)
	pods.stop(t)
	clientHandshakes.stop(t)
	if got := pods.refused.Load(); got != 0 {
		t.Errorf("got %d failed calls of the webhook, want 0; last error: %v", got, pods.why.Load())
	}
	if got := metric(t, started, rotations, "kind=ca"); got != 1 {
		t.Errorf("got %v CAs created", got)
	}
}

// publishedBundle returns the caBundle of the first webhook.
func publishedBundle(t *testing.T, client kubernetes.Interface) []byte {
	t.Helper()
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), chart.ClusterName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return configuration.Webhooks[0].ClientConfig.CABundle
}

// certificatesFor returns the data of a valid Secret for the Service, with a CA that
// is in no caBundle.
func certificatesFor(t *testing.T, client kubernetes.Interface, namespace string) map[string][]byte {
	t.Helper()
	startAuthorityOf(t, namespace, "nobody", time.Now)
	var data map[string][]byte
	eventually(t, "another Secret is created", func(ctx context.Context) error {
		secret, err := client.CoreV1().Secrets(namespace).Get(ctx, "certificates", metav1.GetOptions{})
		if err == nil {
			data = secret.Data
		}
		return err
	})
	return data
}

// startAuthority runs a Rotator for a Service in the namespace, with the given clock,
// until the test ends.
func startAuthority(t *testing.T, namespace string, now func() time.Time) *certs.Rotator {
	t.Helper()
	return startAuthorityOf(t, namespace, installed, now)
}

func startAuthorityOf(t *testing.T, namespace, configuration string, now func() time.Time) *certs.Rotator {
	t.Helper()
	authority, err := certs.NewRotator(certs.RotatorConfig{
		API:     cluster.Config(),
		Service: types.NamespacedName{Namespace: namespace, Name: installed},
		Secret:  "certificates", WebhookConfiguration: configuration,
		CALifetime: 365 * 24 * time.Hour, ServingLifetime: 30 * 24 * time.Hour,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Metrics: prometheus.NewRegistry(), Now: now,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { authority.Run(ctx) })
	t.Cleanup(func() {
		stop()
		running.Wait()
	})
	return authority
}

func TestCertificates_caKeyRemoved(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{
		"failurePolicy=Fail", "certificates.caLifetime=180s", "certificates.certLifetime=20s",
	}})
	clientHandshakes := startHandshakes(t, client, started, started.Replicas...)
	secrets := client.CoreV1().Secrets(started.Namespace)
	before, err := secrets.Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secrets.Patch(t.Context(), installed, types.JSONPatchType, []byte(`[{"op":"remove","path":"/data/ca.key"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(before.Data["ca.crt"])
	eventually(t, "a new CA has signed the serving certificates", func(ctx context.Context) error {
		for _, replica := range started.Replicas {
			leaf, err := served(ctx, replica.URL())
			if err != nil {
				return err
			}
			if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots}); err == nil {
				return errors.New("the old CA signed the certificate")
			}
		}
		return nil
	})
	clientHandshakes.stop(t)
	if got := metric(t, started, rotations, "kind=ca"); got != 2 {
		t.Errorf("got %v CAs created, want 2", got)
	}
}

// served returns the certificate that a replica serves.
func served(ctx context.Context, replica string) (*x509.Certificate, error) {
	parsed, err := url.Parse(replica)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}
	connection, err := dialer.DialContext(ctx, "tcp", parsed.Host)
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	return connection.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// TestCertificates_renewalWithoutSecret uses serving certificates with lifetimes of
// seconds and removes the permission to read or write the Secret.
func TestCertificates_renewalWithoutSecret(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{"failurePolicy=Fail", "certificates.certLifetime=10s"}})
	secrets := client.CoreV1().Secrets(started.Namespace)
	before, err := secrets.Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	clientHandshakes := startHandshakes(t, client, started, started.Replicas...)
	waitForRenewals := func() {
		t.Helper()
		goal := metric(t, started, rotations, "kind=serving") + float64(2*len(started.Replicas))
		eventually(t, "each replica renews its certificate twice", func(context.Context) error {
			if got := metric(t, started, rotations, "kind=serving"); got < goal {
				return fmt.Errorf("got %v serving certificates created, want %v", got, goal)
			}
			return nil
		})
	}
	waitForRenewals()
	now, err := secrets.Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if now.ResourceVersion != before.ResourceVersion {
		t.Error("the Secret was changed")
	}
	for key := range now.Data {
		if key != "ca.crt" && key != "ca.key" {
			t.Errorf("the Secret has a key %s", key)
		}
	}
	if err := client.RbacV1().Roles(started.Namespace).Delete(t.Context(), installed, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the Secret cannot be read", func(context.Context) error {
		if metric(t, started, "pod_identity_webhook_certificate_errors_total") == 0 {
			return errors.New("got no certificate error in the metrics")
		}
		return nil
	})
	waitForRenewals()
	clientHandshakes.stop(t)
	for _, replica := range started.Replicas {
		if err := replica.WaitReady(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestCertificates_otherCABundleEntries puts a self-signed serving certificate into
// the caBundle, as the reference webhook does, and restarts the replicas. The
// replicas must remember since when it has been there.
func TestCertificates_otherCABundleEntries(t *testing.T) {
	client := newClient(t)
	const lifetime = 20 * time.Second
	started := install(t, chartinstall.Options{Values: []string{"certificates.certLifetime=" + lifetime.String()}})
	certPEM, _, err := cert.GenerateSelfSignedCertKey(installed+"."+started.Namespace+".svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	// API servers trust a leaf certificate in the caBundle. Other webhooks put theirs there.
	theirs := slices.Concat([]byte("# theirs\r\n"), bytes.ReplaceAll(certPEM, []byte("\n"), []byte("\r\n")))
	ours := publishedBundle(t, client)
	want := slices.Concat(ours, theirs)
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":%q}]`, base64.StdEncoding.EncodeToString(want))
	began := time.Now()
	if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Patch(t.Context(), chart.ClusterName, types.JSONPatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other certificate is recorded", func(ctx context.Context) error {
		secret, err := client.CoreV1().Secrets(started.Namespace).Get(ctx, installed, metav1.GetOptions{})
		if err == nil && len(secret.Data["retired.json"]) == 0 {
			err = errors.New("the other certificate is not recorded")
		}
		return err
	})
	recorded := time.Now()
	for _, replica := range started.Replicas {
		replica.Kill()
		if err := errors.Join(replica.Start(), replica.WaitReady(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the other certificate is removed from the caBundle", func(context.Context) error {
		now := publishedBundle(t, client)
		switch {
		case bytes.Equal(now, ours):
			return nil
		case !bytes.Equal(now, want):
			t.Fatalf("got caBundle\n%s\nwant\n%s", now, want)
		}
		return errors.New("the other certificate is still in the caBundle")
	})
	// The API server's clock has a resolution of one second.
	if removed := time.Now(); removed.Sub(began) < lifetime-time.Second || removed.Sub(recorded) > lifetime+repairTime {
		t.Errorf("got removal after %s, want %s", removed.Sub(began), lifetime)
	}
}

func TestCertificates_repairsCABundle(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{})
	configurations := client.AdmissionregistrationV1()
	bundle := func(ctx context.Context) ([]byte, []byte, error) {
		mutating, err := configurations.MutatingWebhookConfigurations().Get(ctx, chart.ClusterName, metav1.GetOptions{})
		if err != nil {
			return nil, nil, err
		}
		validating, err := configurations.ValidatingWebhookConfigurations().Get(ctx, chart.ClusterName, metav1.GetOptions{})
		if err != nil {
			return nil, nil, err
		}
		return mutating.Webhooks[0].ClientConfig.CABundle, validating.Webhooks[0].ClientConfig.CABundle, nil
	}
	want, other, err := bundle(t.Context())
	if err != nil || len(want) == 0 || !bytes.Equal(want, other) {
		t.Fatalf("got caBundles of %d and %d bytes, error %v", len(want), len(other), err)
	}
	wipe := []byte(`[{"op":"remove","path":"/webhooks/0/clientConfig/caBundle"}]`)
	for n := range 3 {
		if _, err := configurations.MutatingWebhookConfigurations().Patch(t.Context(), chart.ClusterName, types.JSONPatchType, wipe, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := configurations.ValidatingWebhookConfigurations().Patch(t.Context(), chart.ClusterName, types.JSONPatchType, wipe, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		within(t, repairTime, "both caBundles are restored", func(ctx context.Context) error {
			mutating, validating, err := bundle(ctx)
			if err == nil && (!bytes.Equal(mutating, want) || !bytes.Equal(validating, want)) {
				err = fmt.Errorf("got caBundles of %d and %d bytes", len(mutating), len(validating))
			}
			return err
		})
		eventually(t, "all repairs are counted", func(context.Context) error {
			if got, want := metric(t, started, repairs, "object=ca_bundle"), float64(2*(n+1)); got < want {
				return fmt.Errorf("got %v repairs, want %v", got, want)
			}
			return nil
		})
	}
	// Applying the chart again, as GitOps tools do, does not change the caBundle.
	if err := started.Apply(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, _, err := bundle(t.Context()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("after the second apply: got caBundle of %d bytes, error %v", len(got), err)
	}
}

// TestCertificates_clockSkew runs a replica with a clock two years ahead, and one two
// years behind, alone and together with a replica with the right clock.
func TestCertificates_clockSkew(t *testing.T) {
	client := newClient(t)
	for _, skew := range []time.Duration{2 * 365 * 24 * time.Hour, -2 * 365 * 24 * time.Hour} {
		off := func() time.Time { return time.Now().Add(skew) }
		t.Run("alone "+skew.String(), func(t *testing.T) {
			authority := startAuthority(t, newNamespace(t, client), off)
			eventually(t, "the replica has a valid certificate", func(context.Context) error { return authority.Valid() })
			certificate, err := authority.GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if now := time.Now(); now.Before(certificate.Leaf.NotBefore) || now.After(certificate.Leaf.NotAfter) {
				t.Errorf("got certificate valid from %s to %s, want it valid now", certificate.Leaf.NotBefore, certificate.Leaf.NotAfter)
			}
		})
		t.Run("with another replica "+skew.String(), func(t *testing.T) {
			namespace := newNamespace(t, client)
			right := startAuthority(t, namespace, time.Now)
			eventually(t, "the first replica has a valid certificate", func(context.Context) error { return right.Valid() })
			secrets := client.CoreV1().Secrets(namespace)
			before, err := secrets.Get(t.Context(), "certificates", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			wrong := startAuthority(t, namespace, off)
			eventually(t, "the replica has a valid certificate", func(context.Context) error { return wrong.Valid() })
			wantSignedBy(t, wrong, before)
			after, err := secrets.Get(t.Context(), "certificates", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if after.ResourceVersion != before.ResourceVersion {
				t.Error("the replica with the wrong clock changed the Secret")
			}
		})
	}
}

func TestCertificates_expiredWhileStopped(t *testing.T) {
	client := newClient(t)
	started := install(t, chartinstall.Options{Values: []string{
		"failurePolicy=Fail", "certificates.caLifetime=30s", "certificates.certLifetime=10s",
	}})
	for _, replica := range started.Replicas {
		replica.Kill()
	}
	secret, err := client.CoreV1().Secrets(started.Namespace).Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	authorities, err := cert.ParseCertsPEM(secret.Data["ca.crt"])
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all CAs have expired", func(context.Context) error {
		for _, ca := range authorities {
			if time.Now().Before(ca.NotAfter) {
				return fmt.Errorf("a CA expires at %s", ca.NotAfter)
			}
		}
		return nil
	})
	if err := started.StartReplicas(t.Context()); err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	eventually(t, "a pod is created", func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(namespace).Create(ctx, podOf("pod", "app"), metav1.CreateOptions{})
		if err == nil && roleOf(pod) != appRole {
			t.Fatal("the pod has no role")
		}
		return err
	})
}

func TestCertificates_fileSource(t *testing.T) {
	client := newClient(t)
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	started := install(t, chartinstall.Options{Args: []string{"--tls-cert=" + certFile, "--tls-key=" + keyFile}})
	configuration, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), chart.ClusterName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(configuration.Webhooks[0].ClientConfig.CABundle) > 0 {
		t.Error("got a caBundle, want none")
	}
	secret, err := client.CoreV1().Secrets(started.Namespace).Get(t.Context(), installed, metav1.GetOptions{})
	if err != nil || len(secret.Data) != 0 {
		t.Errorf("got Secret with %d keys, error %v", len(secret.Data), err)
	}
	log, err := started.Replicas[0].Logs()
	if err != nil || !strings.Contains(log, "--tls-secret") {
		t.Errorf("the log has no warning that --tls-secret has no effect, error %v", err)
	}
}
