package upgrade_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
)

const (
	referenceName      = "pod-identity-webhook"
	referenceNamespace = metav1.NamespaceDefault
)

// reference is an installation of amazon-eks-pod-identity-webhook with the manifests in its
// directory deploy, as of v0.6.9, but with failurePolicy Fail.
type reference struct {
	client   kubernetes.Interface
	workload *chartinstall.Workload
	// args are the flags of its Deployment, and flags for files and addresses that differ
	// without nodes.
	args []string
	log  string
}

// installReference installs the reference. The program is $REFERENCE if it is set. Otherwise
// it is the previous release, which has the same flags and injects the same identity.
func installReference(t *testing.T, client kubernetes.Interface) *reference {
	t.Helper()
	r := &reference{client: client, log: filepath.Join(t.TempDir(), "replicas.log")}
	var err error
	if r.workload, err = chartinstall.NewWorkload(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.workload.Close)
	certificate, key := selfSigned(t)
	r.createPermissions(t)
	r.createService(t)
	r.register(t, certificate)

	certFile, keyFile := filepath.Join(t.TempDir(), "tls.crt"), filepath.Join(t.TempDir(), "tls.key")
	if err := errors.Join(os.WriteFile(certFile, certificate, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	r.args = []string{
		"--in-cluster=false", "--namespace=" + referenceNamespace, "--service-name=" + referenceName,
		"--annotation-prefix=eks.amazonaws.com", "--token-audience=sts.amazonaws.com", "--logtostderr",
		"--kubeconfig=" + writeKubeconfig(t, client, referenceNamespace, referenceName),
		"--tls-cert=" + certFile, "--tls-key=" + keyFile,
	}
	program, args := os.Getenv("REFERENCE"), r.args
	if program == "" {
		program, args = file(t, "PREVIOUS_WEBHOOK"), append(slices.Clone(args), "--bind-address=127.0.0.1")
		t.Log("REFERENCE is not set: the previous release replaces the reference")
	}
	if err := r.workload.Rollout(t.Context(), chartinstall.Template{
		Binary: program, Log: r.log, Replicas: 1, Health: "/healthz", Args: args,
	}, func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	// The reference responds before its cache has the ServiceAccounts.
	namespace := newLoadNamespace(t, client)
	eventually(t, "the reference injects pods", func(ctx context.Context) error {
		pod, err := client.CoreV1().Pods(namespace).Create(ctx, newPod("probe", withRole), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return err
		}
		return checkIdentity(pod)
	})
	return r
}

// selfSigned returns a certificate like the one that cert-manager issues for the reference.
// It is a CA certificate that is also the serving certificate, so it is its own caBundle.
func selfSigned(t *testing.T) (certificate, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	short := referenceName + "." + referenceNamespace
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: short + ".svc"},
		DNSNames:  []string{referenceName, short, short + ".svc", short + ".svc.local"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
		BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// createPermissions creates the ServiceAccount and its permissions.
func (r *reference) createPermissions(t *testing.T) {
	t.Helper()
	ctx, meta := t.Context(), metav1.ObjectMeta{Name: referenceName}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: referenceNamespace, Name: referenceName}}
	_, accountErr := r.client.CoreV1().ServiceAccounts(referenceNamespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, metav1.CreateOptions{})
	_, roleErr := r.client.RbacV1().Roles(referenceNamespace).Create(ctx, &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"create"}},
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{referenceName}, Verbs: []string{"get", "update", "patch"}},
	}}, metav1.CreateOptions{})
	_, roleBindingErr := r.client.RbacV1().RoleBindings(referenceNamespace).Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: referenceName},
	}, metav1.CreateOptions{})
	_, clusterRoleErr := r.client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, Verbs: []string{"get", "watch", "list"}},
		{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests"}, Verbs: []string{"create", "get", "list", "watch"}},
	}}, metav1.CreateOptions{})
	_, clusterRoleBindingErr := r.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: referenceName},
	}, metav1.CreateOptions{})
	if err := errors.Join(accountErr, roleErr, roleBindingErr, clusterRoleErr, clusterRoleBindingErr); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.uninstall(t) })
}

func (r *reference) createService(t *testing.T) {
	t.Helper()
	_, err := r.client.CoreV1().Services(referenceNamespace).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: referenceName},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func (r *reference) register(t *testing.T, caBundle []byte) {
	t.Helper()
	port, err := strconv.ParseInt(strconv.Itoa(r.workload.Port()), 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: referenceName},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name: "pod-identity-webhook.amazonaws.com", FailurePolicy: new(admissionregistrationv1.Fail),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: caBundle, Service: &admissionregistrationv1.ServiceReference{
				Namespace: referenceNamespace, Name: referenceName, Path: new("/mutate"), Port: new(int32(port)),
			}},
			ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
				{Key: "eks.amazonaws.com/skip-pod-identity-webhook", Operator: metav1.LabelSelectorOpDoesNotExist},
			}},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			SideEffects: new(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1beta1"},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// uninstall deletes all objects, the webhook configuration first.
func (r *reference) uninstall(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	r.unregister(t)
	for _, remove := range []func(context.Context, string, metav1.DeleteOptions) error{
		r.client.CoreV1().Services(referenceNamespace).Delete,
		r.client.RbacV1().ClusterRoleBindings().Delete, r.client.RbacV1().ClusterRoles().Delete,
		r.client.RbacV1().RoleBindings(referenceNamespace).Delete, r.client.RbacV1().Roles(referenceNamespace).Delete,
		r.client.CoreV1().ServiceAccounts(referenceNamespace).Delete,
	} {
		if err := remove(ctx, referenceName, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
}

func (r *reference) unregister(t *testing.T) {
	t.Helper()
	err := r.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.WithoutCancel(t.Context()), referenceName, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

// TestUpgrade_referenceByImage replaces only the program. The flags, permissions, certificate
// and webhook configuration stay.
func TestUpgrade_referenceByImage(t *testing.T) {
	client := newClient(t)
	r := installReference(t, client)
	load := startLoad(t, client)
	load.step(t, "reference")
	err := r.workload.Rollout(t.Context(), chartinstall.Template{
		Binary: file(t, "WEBHOOK"), Log: r.log, Replicas: 1, Args: append(slices.Clone(r.args), "--bind-address=127.0.0.1"),
	}, func() error {
		load.step(t, "the reference is replaced")
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	load.step(t, "this release")
	load.stop(t)
}

// TestUpgrade_referenceByChart follows docs/migrate-from-eks-webhook.md: it installs the
// chart next to the reference, and removes the reference.
func TestUpgrade_referenceByChart(t *testing.T) {
	client := newClient(t)
	r := installReference(t, client)
	load := startLoad(t, client)
	load.step(t, "reference")
	started := install(t, client, "irsa", version{chart.Path(), file(t, "WEBHOOK")})
	load.step(t, "both")
	started.values = append(started.values, "failurePolicy=Fail")
	started.helm("upgrade", chart.Path())
	load.step(t, "both, failurePolicy Fail")
	r.unregister(t)
	eventually(t, "the reference is no longer called", func(ctx context.Context) error {
		before, err := callsOf(ctx, client, "pod-identity-webhook.amazonaws.com")
		if err != nil {
			return err
		}
		load.waitForMore(t)
		after, err := callsOf(ctx, client, "pod-identity-webhook.amazonaws.com")
		if err == nil && after != before {
			err = errors.New("the reference is still called")
		}
		return err
	})
	load.step(t, "reference no longer called")
	r.workload.Close()
	r.uninstall(t)
	load.step(t, "this release")
	load.stop(t)
}

// callsOf returns the number of the API server's calls of a webhook, from its metrics.
func callsOf(ctx context.Context, client kubernetes.Interface, name string) (string, error) {
	metrics, err := client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return "", err
	}
	var calls []string
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, "apiserver_admission_webhook_request_total{") && strings.Contains(line, strconv.Quote(name)) {
			calls = append(calls, line)
		}
	}
	if len(calls) == 0 {
		return "", errors.New("the API server has not called the webhook")
	}
	return strings.Join(calls, ""), nil
}
