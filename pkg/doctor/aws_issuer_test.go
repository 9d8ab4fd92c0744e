package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/go-jose/go-jose/v4"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// authority is a test CA.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{certificate, key}
}

func (a authority) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
}

func (a authority) issue(t *testing.T, name string, from, to time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{name}, NotBefore: from, NotAfter: to, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestEvaluateCertificate(t *testing.T) {
	const name = "pod-identity-webhook.pod-identity-webhook.svc"
	now := time.Now()
	ca, other := newAuthority(t), newAuthority(t)
	served := func(name string, from, to time.Duration) *endpointInfo {
		return &endpointInfo{name: "pod-identity-webhook.pod-identity-webhook.svc", served: []*x509.Certificate{ca.issue(t, name, now.Add(from), now.Add(to)).Leaf}}
	}
	valid := served(name, -time.Hour, 100*time.Hour)
	byCertManager := entryOf(nil)
	byCertManager.configuration.Annotations = map[string]string{"cert-manager.io/inject-ca-from": "irsa/webhook"}
	url := entryOf(func(w *admissionregistrationv1.MutatingWebhook) {
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: new("https://10.0.0.1/mutate")}
	})
	unknown := newFinding(Unknown, "unreachable")
	for title, test := range map[string]struct {
		entry  *webhookEntry
		bundle []byte
		view   *endpointInfo
		want   want
	}{
		"the right CA":             {entryOf(nil), ca.bundle(), valid, want{OK, "trusts the webhook's certificate", "", ""}},
		"one of several CAs":       {entryOf(nil), append(other.bundle(), ca.bundle()...), valid, want{OK, "trusts", "", ""}},
		"another CA":               {entryOf(nil), other.bundle(), valid, want{Broken, "no CA in caBundle signed", "failurePolicy", "kubectl rollout restart deployment/pod-identity-webhook -n pod-identity-webhook"}},
		"another CA, cert-manager": {byCertManager, other.bundle(), valid, want{Broken, "no CA in caBundle", "", "kubectl delete secret -n irsa $(kubectl get certificate -n irsa webhook"}},
		"another CA, by URL":       {url, other.bundle(), valid, want{Broken, "no CA in caBundle", "", `"path":"/webhooks/0/clientConfig/caBundle","value":"'$(base64 -w0 CA.pem)'"`}},
		"no CA":                    {entryOf(nil), nil, valid, want{Broken, "caBundle of MutatingWebhookConfiguration pod-identity-webhook is empty", "", "rollout restart"}},
		"not a CA":                 {entryOf(nil), []byte("x"), valid, want{Broken, "is invalid", "", "rollout restart"}},
		"another name":             {entryOf(nil), ca.bundle(), served("webhook.other.svc", -time.Hour, 100*time.Hour), want{Broken, "is not for " + name, "the certificate is for webhook.other.svc", "rollout restart"}},
		"an expired certificate":   {entryOf(nil), ca.bundle(), served(name, -9*time.Minute, -time.Minute), want{Broken, "is valid only from", "", "rollout restart"}},
		"not valid yet":            {entryOf(nil), ca.bundle(), served(name, time.Minute, time.Hour), want{Broken, "is valid only from", "", "rollout restart"}},
		"about to expire":          {entryOf(nil), ca.bundle(), served(name, -50*time.Minute, 2*time.Minute), want{Warning, "was not renewed", "", "rollout restart"}},
		"an unreachable endpoint":  {entryOf(nil), ca.bundle(), &endpointInfo{unknown: &unknown}, want{Unknown, "unreachable", "", ""}},
		"no response":              {entryOf(nil), ca.bundle(), &endpointInfo{failed: &Finding{Status: Broken}}, want{Skipped, "webhook_reachable is broken", "", ""}},
	} {
		t.Run(title, func(t *testing.T) {
			test.want.check(t, evaluateCertificate(test.entry, test.bundle, test.view, now))
		})
	}
}

// TestInspectViaPod forwards to a test server.
func TestInspectViaPod(t *testing.T) {
	const name = "pod-identity-webhook.pod-identity-webhook.svc"
	ca := newAuthority(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			http.NotFound(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{ca.issue(t, name, time.Now().Add(-time.Hour), time.Now().Add(100*time.Hour))}}
	server.StartTLS()
	t.Cleanup(server.Close)
	ready := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "webhook-b"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "https", ContainerPort: 8443}}}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	waiting := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "webhook-a"}}
	view := func() *webhookInfo {
		return &webhookInfo{
			entries: []webhookEntry{*entryOf(nil)}, pods: []corev1.Pod{waiting, ready},
			service: &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromString("https")}}}},
		}
	}
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))
	for title, test := range map[string]struct {
		change  func(*webhookInfo)
		forward Forwarder
		want    want
	}{
		"it responds": {nil, func(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
			if namespace != "pod-identity-webhook" || pod != "webhook-b" || port != 8443 {
				t.Errorf("got port %d of %s/%s, want port 8443 of pod-identity-webhook/webhook-b", port, namespace, pod)
			}
			return (&net.Dialer{}).DialContext(ctx, "tcp", server.Listener.Addr().String())
		}, want{OK, "port 8443 of pod pod-identity-webhook/webhook-b responds", "", ""}},
		"forwarding is forbidden": {
			nil, func(context.Context, string, string, int) (net.Conn, error) { return nil, errForwardForbidden },
			want{Unknown, "not allowed to create pods/portforward", "", ""},
		},
		"forwarding fails": {
			nil, func(context.Context, string, string, int) (net.Conn, error) {
				return nil, errors.New("kubelet is unreachable")
			},
			want{Unknown, "kubelet is unreachable", "", ""},
		},
		"no port forwarding":       {nil, nil, want{Unknown, "without port forwarding", "", ""}},
		"no pod is ready":          {func(v *webhookInfo) { v.pods = v.pods[:1] }, func(context.Context, string, string, int) (net.Conn, error) { return nil, nil }, want{Unknown, "no ready pod", "", ""}},
		"pods are forbidden":       {func(v *webhookInfo) { v.podsErr = forbidden }, nil, want{Unknown, "not allowed to list pods", "", ""}},
		"the Service is forbidden": {func(v *webhookInfo) { v.serviceErr = forbidden }, nil, want{Unknown, "not allowed to get services/pod-identity-webhook", "", ""}},
	} {
		t.Run(title, func(t *testing.T) {
			v := view()
			if test.change != nil {
				test.change(v)
			}
			d := &Doctor{Forward: test.forward}
			d.known.webhook.get(struct{}{}, func() *webhookInfo { return v })
			info := d.endpoint(t.Context())
			test.want.check(t, evaluateEndpoint(info))
			if test.want.status == OK {
				want{OK, "trusts the webhook's certificate", "", ""}.check(t, evaluateCertificate(v.chosen(), ca.bundle(), info, time.Now()))
			}
		})
	}
}

func TestEndpoint_dryRunResult(t *testing.T) {
	d := &Doctor{APIServer: "https://10.0.0.1:6443"}
	d.known.webhook.get(struct{}{}, func() *webhookInfo {
		return &webhookInfo{entries: []webhookEntry{*entryOf(func(w *admissionregistrationv1.MutatingWebhook) {
			w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:23443/mutate")}
		})}}
	})
	x := &checkState{Doctor: d, webhook: d.webhook(t.Context())}
	want{Unknown, "the API server's host", "EKS", ""}.check(t, checkReachable(t.Context(), x))
	x.dryRunPassed = true
	want{OK, "see check webhook_dry_run", "", ""}.check(t, checkReachable(t.Context(), x))
	want{OK, "see check webhook_dry_run", "", ""}.check(t, checkCertificate(t.Context(), x))
}

func TestEvaluateDryRun(t *testing.T) {
	refused := func(message string) error { return errors.New(message) }
	rbac := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New(`User "x" cannot create resource "pods" in API group "" in the namespace "shop"`))
	rbac.ErrStatus.Message = `pods is forbidden: User "x" cannot create resource "pods" in API group ""`
	for title, test := range map[string]struct {
		err  error
		want want
	}{
		"forbidden":                   {rbac, want{Unknown, "not allowed to create pods in namespace shop", "", ""}},
		"the CA is not trusted":       {refused(`Internal error occurred: failed calling webhook "x": tls: failed to verify certificate: x509: certificate signed by unknown authority`), want{Broken, "cannot call the webhook", "x509", "rollout restart"}},
		"no response":                 {refused(`failed calling webhook "x": dial tcp: connection refused`), want{Broken, "cannot call the webhook", "refused", "kubectl logs -n pod-identity-webhook deployment/pod-identity-webhook"}},
		"the guard":                   {refused(`pods "x" is forbidden: ValidatingAdmissionPolicy 'pod-identity-webhook-guard' with binding denied request`), want{Broken, "the guard denies", "", "kubectl logs"}},
		"a quota":                     {refused(`pods "x" is forbidden: exceeded quota`), want{Unknown, "for another reason", "quota", ""}},
		"a webhook with side effects": {refused(`admission webhook "x" does not support dry run`), want{Unknown, "does not support dry runs", "", ""}},
	} {
		t.Run(title, func(t *testing.T) {
			x := examinationOf(accountWith(nil))
			x.webhook = &webhookInfo{entries: []webhookEntry{*entryOf(nil)}}
			test.want.check(t, evaluateDryRunRejected(x, test.err))
		})
	}
	ignoring := entryOf(func(w *admissionregistrationv1.MutatingWebhook) {
		w.FailurePolicy = new(admissionregistrationv1.Ignore)
	})
	want{OK, "gets the identity of its ServiceAccount", "", ""}.check(t, evaluateDryRunAdmitted(ignoring, injected(nil), testRole))
	want{Broken, "gets no identity", "failurePolicy is Ignore", "kubectl logs"}.check(t, evaluateDryRunAdmitted(ignoring, podWithoutIdentity(nil), testRole))
	want{Broken, "gets no identity", "was not called", ""}.check(t, evaluateDryRunAdmitted(entryOf(nil), podWithoutIdentity(nil), testRole))
	want{Broken, "gets role arn:aws:iam::111122223333:role/cart, not arn:aws:iam::111122223333:role/new", "", "kubectl logs"}.
		check(t, evaluateDryRunAdmitted(ignoring, injected(nil), "arn:aws:iam::111122223333:role/new"))
}

func TestDryRunPod_matchesSelectors(t *testing.T) {
	x := examinationOf(accountWith(nil))
	r := entryOf(func(w *admissionregistrationv1.MutatingWebhook) {
		w.ObjectSelector = &metav1.LabelSelector{
			MatchLabels:      map[string]string{"irsa": "yes"},
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "opted-in", Operator: metav1.LabelSelectorOpExists}, {Key: "skip", Operator: metav1.LabelSelectorOpDoesNotExist}},
		}
	})
	x.webhook = &webhookInfo{entries: []webhookEntry{*r}}
	if missed := unmetRequirements(r.webhook.ObjectSelector, dryRunPod(x).Labels); len(missed) > 0 {
		t.Errorf("got unmet requirements %s, want none", formatRequirements(missed))
	}
}

func TestEvaluateTokenRequest(t *testing.T) {
	const subject = "system:serviceaccount:shop:cart"
	for title, test := range map[string]struct {
		claims token.Claims
		want   want
	}{
		"as expected":      {token.Claims{Issuer: "https://oidc.example.com", Subject: subject, Audience: []string{"sts.amazonaws.com"}}, want{OK, "expected audience and subject", "", ""}},
		"another audience": {token.Claims{Issuer: "https://oidc.example.com", Subject: subject, Audience: []string{"api"}}, want{Broken, `has audiences ["api"]`, "", ""}},
		"another subject":  {token.Claims{Issuer: "https://oidc.example.com", Subject: "x", Audience: []string{"sts.amazonaws.com"}}, want{Broken, `subject "x"`, "", ""}},
		"not a URL":        {token.Claims{Issuer: "kubernetes/serviceaccount", Subject: subject, Audience: []string{"sts.amazonaws.com"}}, want{Broken, "is not an https URL", "--service-account-issuer", ""}},
		"http":             {token.Claims{Issuer: "http://oidc.example.com", Subject: subject, Audience: []string{"sts.amazonaws.com"}}, want{Broken, "is not an https URL", "https://", ""}},
	} {
		t.Run(title, func(t *testing.T) {
			test.want.check(t, evaluateTokenRequest(test.claims, subject, "sts.amazonaws.com"))
		})
	}
}

func TestCheckDiscovery(t *testing.T) {
	failed := func(step issuer.Step, err error) error {
		return &issuer.DiscoveryError{URL: "https://x", Step: step, Err: err}
	}
	const inCluster = "https://kubernetes.default.svc.cluster.local"
	noSuchHost := failed(issuer.StepDiscovery, &url.Error{Op: "Get", URL: inCluster, Err: &net.DNSError{Err: "no such host", Name: "kubernetes.default.svc.cluster.local"}})
	for title, test := range map[string]struct {
		issuer     string
		err        error
		privateSTS bool
		want       want
	}{
		"an HTTP error":          {"https://oidc.example.com", failed(issuer.StepDiscovery, errors.New("403 Forbidden")), false, want{Broken, "cannot read the issuer's discovery document", "403", "kubectl irsa oidc documents"}},
		"the key set is missing": {"https://oidc.example.com", failed(issuer.StepKeySet, errors.New("404")), false, want{Broken, "cannot read the issuer's key set", "404", ""}},
		"a URL in the cluster":   {inCluster, noSuchHost, false, want{Broken, "not readable from outside the cluster", "--service-account-issuer", ""}},
		"an unknown CA":          {"https://oidc.example.com", failed(issuer.StepDiscovery, x509.UnknownAuthorityError{}), false, want{Unknown, "does not trust its CA", "--issuer-ca-file", ""}},
		// An STS in the cluster may read what this machine cannot.
		"a URL in the cluster, private STS":               {inCluster, noSuchHost, true, want{Unknown, "is not reachable from here", "your STS may still reach it", ""}},
		"an unknown CA, private STS":                      {inCluster, failed(issuer.StepDiscovery, &url.Error{Op: "Get", URL: inCluster, Err: x509.UnknownAuthorityError{}}), true, want{Unknown, "does not trust its CA", "--issuer-ca-file", ""}},
		"a URL in the cluster, HTTP error, private STS":   {inCluster, failed(issuer.StepDiscovery, errors.New("403 Forbidden")), true, want{Broken, "cannot read the issuer's discovery document", "403", ""}},
		"a URL on the internet, no response, private STS": {"https://oidc.example.com", &url.Error{Op: "Get", URL: "https://oidc.example.com", Err: errors.New("no such host")}, true, want{Broken, "cannot read the issuer's discovery document", "no such host", ""}},
	} {
		t.Run(title, func(t *testing.T) { test.want.check(t, evaluateDiscoveryError(test.issuer, test.err, test.privateSTS)) })
	}
	for raw, hidden := range map[string]bool{
		"https://oidc.eks.eu-west-1.amazonaws.com/id/X": false, "https://example.com:8443": false, "https://8.8.8.8": false,
		"https://kubernetes.default.svc": true, "https://kubernetes.default.svc.cluster.local": true, "https://10.1.2.3": true,
		"https://[::1]:6443": true, "https://localhost": true, "https://oidc.corp.internal": true, "https://nas.local": true, "https://0.0.0.0": true, "https://master": true, "https://169.254.1.1": true,
	} {
		if got := privateHost(raw) != ""; got != hidden {
			t.Errorf("%s: got private %t, want %t", raw, got, hidden)
		}
	}
}

func TestEvaluateSigningKey(t *testing.T) {
	published := issuer.Issuer{JWKSURI: "https://x/jwks", Keys: jose.JSONWebKeySet{}}
	for title, test := range map[string]struct {
		err    error
		want   want
		claims want
	}{
		"no error":      {nil, want{OK, "is published", "", ""}, want{OK, "is valid", "", ""}},
		"unknown key":   {&issuer.VerificationError{Reason: issuer.UnknownKey, Claim: "kid", Found: `"a"`, Expected: "b"}, want{Broken, "is not published", "kid is", "kubectl irsa oidc documents"}, want{OK, "", "", ""}},
		"wrong clock":   {&issuer.VerificationError{Reason: issuer.NotYetValid, Claim: "nbf", Found: "soon", Expected: "now"}, want{OK, "", "", ""}, want{Broken, "its nbf is soon", "clock", ""}},
		"its audience":  {&issuer.VerificationError{Reason: issuer.WrongAudience, Claim: "aud", Found: "x", Expected: "y"}, want{OK, "", "", ""}, want{Broken, "its aud is x", "expected: y", ""}},
		"another error": {errors.New("timeout"), want{Unknown, "cannot verify the token", "", ""}, want{OK, "", "", ""}},
	} {
		t.Run(title, func(t *testing.T) {
			finding, rest := evaluateSigningKey("a", published, test.err)
			test.want.check(t, finding)
			test.claims.check(t, evaluateClaims(rest, token.Claims{}))
		})
	}
}

func TestEvaluateAccount(t *testing.T) {
	for title, test := range map[string]struct {
		role string
		err  error
		want want
	}{
		"the same account": {testRole, nil, want{OK, "111122223333", "", ""}},
		"another account":  {"arn:aws:iam::444455556666:role/cart", nil, want{Unknown, "the role is in account 444455556666", "--profile", ""}},
		"no credentials":   {testRole, errors.New("no credentials"), want{Unknown, "cannot determine the account", "--no-aws", ""}},
		"a role of MinIO":  {"arn:minio:iam:::role/x", nil, want{Skipped, "not the ARN of a role in AWS", "", ""}},
		"a role of Ceph":   {"arn:aws:iam:::role/S3Access", nil, want{Skipped, "not the ARN of a role in AWS", "", ""}},
		"not an ARN":       {"cart", errors.New("x"), want{Skipped, "not the ARN of a role in AWS", "", ""}},
	} {
		t.Run(title, func(t *testing.T) {
			test.want.check(t, evaluateAccount(test.role, account{id: "111122223333"}, test.err))
		})
	}
}

func TestEvaluateProvider(t *testing.T) {
	const issuerURL, arn = "https://oidc.example.com/id/A", "arn:aws:iam::111122223333:oidc-provider/oidc.example.com/id/A"
	for title, test := range map[string]struct {
		issuer string
		got    provider
		want   want
	}{
		"the right provider":     {issuerURL, provider{url: "oidc.example.com/id/A"}, want{OK, "IAM has an OIDC provider", "", ""}},
		"none":                   {issuerURL, provider{missing: true, others: []string{"token.actions.githubusercontent.com"}}, want{Broken, "IAM has no OIDC provider", "no role of the account can trust", "kubectl irsa provider create --approve"}},
		"one with a slash":       {issuerURL, provider{missing: true, others: []string{"oidc.example.com/id/A/"}}, want{Broken, "", "similar oidc.example.com/id/A/, but the URLs must match exactly", ""}},
		"one with http":          {issuerURL, provider{missing: true, others: []string{"http://oidc.example.com/id/a"}}, want{Broken, "", "similar http://oidc.example.com/id/a", ""}},
		"one of another cluster": {issuerURL, provider{missing: true, others: []string{"oidc.example.com/id/B"}}, want{Broken, "", "oidc.example.com/id/B", ""}},
		"an issuer with a slash": {issuerURL + "/", provider{url: "oidc.example.com/id/A"}, want{Warning, "ends in a slash", "", ""}},
	} {
		t.Run(title, func(t *testing.T) { test.want.check(t, evaluateProvider(test.issuer, arn, &test.got)) })
	}
	want{OK, "accepts audience", "", ""}.check(t, evaluateProviderAudience(arn, "sts.amazonaws.com", []string{"x", "sts.amazonaws.com"}))
	want{Broken, `does not accept audience "vault"`, "the provider accepts none", "kubectl irsa provider create --audience vault --approve"}.check(t, evaluateProviderAudience(arn, "vault", nil))
}

// fakeIAM implements IAM and Caller. It returns fixed values.
type fakeIAM struct {
	role     *types.Role
	provider *iam.GetOpenIDConnectProviderOutput
	err      error
}

func (f fakeIAM) GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error) {
	return &iam.GetRoleOutput{Role: f.role}, f.err
}

func (f fakeIAM) GetOpenIDConnectProvider(context.Context, *iam.GetOpenIDConnectProviderInput, ...func(*iam.Options)) (*iam.GetOpenIDConnectProviderOutput, error) {
	return f.provider, f.err
}

func (f fakeIAM) ListOpenIDConnectProviders(context.Context, *iam.ListOpenIDConnectProvidersInput, ...func(*iam.Options)) (*iam.ListOpenIDConnectProvidersOutput, error) {
	return &iam.ListOpenIDConnectProvidersOutput{}, f.err
}

func (f fakeIAM) GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error) {
	return &sts.GetCallerIdentityOutput{Account: aws.String("111122223333")}, nil
}

func TestAWSReadErrorFinding_accessDenied(t *testing.T) {
	denied := &smithy.GenericAPIError{Code: "AccessDenied", Message: "no"}
	x := examinationOf(accountWith(nil))
	x.Doctor = &Doctor{AWS: &AWS{IAM: fakeIAM{err: denied}, STS: fakeIAM{}}}
	x.identity, x.claims = podWithIdentity(nil), token.Claims{Issuer: "https://oidc.example.com"}
	want{Unknown, "not allowed to call iam:GetRole", "the action iam:GetRole", ""}.check(t, checkRoleExists(t.Context(), x))
	want{Unknown, "not allowed to call iam:GetOpenIDConnectProvider", "", ""}.check(t, checkProvider(t.Context(), x))
	want{OK, "111122223333", "", ""}.check(t, checkAccount(t.Context(), x))
	x.Doctor = &Doctor{AWS: &AWS{IAM: fakeIAM{err: &types.NoSuchEntityException{}}}}
	want{Broken, "role cart does not exist", "", "kubectl irsa serviceaccount create cart -n shop --role-name cart --role-only --approve"}.check(t, checkRoleExists(t.Context(), x))
	x.identity.RoleARN, x.identity.Audience = "arn:aws:iam::111122223333:role/team/cart", "vault"
	want{Broken, "role cart does not exist", "", "kubectl irsa serviceaccount create cart -n shop --role-name cart --path /team/ --audience vault --role-only --approve"}.check(t, checkRoleExists(t.Context(), x))
	x.identity = podWithIdentity(nil)
	x.Doctor = &Doctor{AWS: &AWS{IAM: fakeIAM{role: &types.Role{Arn: aws.String("arn:aws:iam::111122223333:role/team/cart")}}}}
	want{Broken, "the role has ARN arn:aws:iam::111122223333:role/team/cart", "path", "eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/team/cart"}.check(t, checkRoleExists(t.Context(), x))
	x.Doctor = &Doctor{}
	want{Skipped, "--no-aws", "", ""}.check(t, checkAccount(t.Context(), x))
}

func TestEvaluateTrustPolicy(t *testing.T) {
	const provider = "arn:aws:iam::111122223333:oidc-provider/oidc.example.com"
	policy := func(subject string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity","Principal":{"Federated":"` + provider +
			`"},"Condition":{"StringEquals":{"oidc.example.com:aud":"sts.amazonaws.com"` + subject + `}}}]}`
	}
	x := examinationOf(accountWith(nil))
	x.identity = podWithIdentity(nil)
	x.claims = token.Claims{Issuer: "https://oidc.example.com", Subject: "system:serviceaccount:shop:cart", Audience: []string{"sts.amazonaws.com"}}
	request := trustpolicy.ForToken(provider, x.claims, "").At(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	const cart, perimeter = `,"oidc.example.com:sub":"system:serviceaccount:shop:cart"`,
		`{"Sid":"Perimeter","Effect":"Deny","Principal":{"AWS":"*"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"NotIpAddressIfExists":{"aws:SourceIp":["203.0.113.0/24"]}}}`
	with := func(subject, statement string) string {
		return strings.TrimSuffix(policy(subject), "]}") + "," + statement + "]}"
	}
	const fix = `aws iam update-assume-role-policy --role-name cart --policy-document "$(aws iam get-role --role-name cart --query Role.AssumeRolePolicyDocument --output json | ` +
		`kubectl irsa trust-policy shop/cart --issuer https://oidc.example.com --account-id 111122223333 --add-to -)"`
	for title, test := range map[string]struct {
		document string
		want     want
	}{
		"it allows":         {policy(cart), want{OK, "allows system:serviceaccount:shop:cart with audience sts.amazonaws.com", "", ""}},
		"another namespace": {policy(`,"oidc.example.com:sub":"system:serviceaccount:store:cart"`), want{Broken, "does not allow", "oidc.example.com:sub", fix}},
		"all subjects":      {policy(""), want{Warning, "more than system:serviceaccount:shop:cart", "no condition that requires a sub", ""}},
		"not a policy":      {`{}`, want{Unknown, "cannot evaluate the trust policy", "no statement", ""}},
		"a condition of the call": {
			strings.Replace(policy(cart), `}}}]`, `},"StringLike":{"aws:SourceVpc":"vpc-1"}}}]`, 1),
			want{Unknown, "depends on aws:SourceVpc of the call to STS", "statement 1 allows the request only if", ""},
		},
		"the session name": {
			strings.Replace(policy(cart), `}}}]`, `},"StringLike":{"sts:RoleSessionName":"cart*"}}}]`, 1),
			want{Unknown, "depends on sts:RoleSessionName", "", ""},
		},
		"the clock":        {strings.Replace(policy(cart), `}}}]`, `},"DateGreaterThan":{"aws:CurrentTime":"2026-01-01T00:00:00Z"}}}]`, 1), want{OK, "allows", "", ""}},
		"a data perimeter": {with(cart, perimeter), want{Unknown, "depends on aws:SourceIp", "statement 2 (Perimeter) denies the request only if", ""}},
		"a data perimeter, another namespace": {
			with(`,"oidc.example.com:sub":"system:serviceaccount:store:cart"`, perimeter),
			want{Broken, "does not allow", "keeps all statements", fix},
		},
		"an unconditional Deny": {with(cart, `{"Effect":"Deny","Principal":"*","Action":"sts:*"}`), want{Broken, "denies system:serviceaccount:shop:cart", "change the condition of that statement", ""}},
		"no space left":         {with(`,"oidc.example.com:sub":"`+strings.Repeat("x", 3800)+`"`, perimeter), want{Broken, "does not allow", "exceed the limit of IAM", ""}},
		"little space left":     {with(`,"oidc.example.com:sub":"`+strings.Repeat("x", 1500)+`"`, perimeter), want{Broken, "does not allow", "the default limit of IAM is 2048", fix}},
	} {
		t.Run(title, func(t *testing.T) {
			got := x.evaluateTrustPolicy([]byte(test.document), request)
			test.want.check(t, got)
			if test.want.fix == "" && got.Fix != "" {
				t.Errorf("got fix %q, want none", got.Fix)
			}
		})
	}
}

func TestOverruleTrustPolicy(t *testing.T) {
	trust := func(status Status) Finding {
		return Finding{Check: TrustPolicy, Status: status, Summary: "depends on aws:SourceIp", Fix: "x"}
	}
	for title, test := range map[string]struct {
		trust    Status
		exchange Status
		want     Status
	}{
		"accepted":            {Unknown, OK, OK},
		"accepted, denied":    {Broken, OK, OK},
		"accepted, too broad": {Warning, OK, Warning},
		"rejected":            {Unknown, Broken, Unknown},
		"not tried":           {Broken, Skipped, Broken},
		"not reachable":       {Unknown, Unknown, Unknown},
	} {
		findings := overruleTrustPolicy([]Finding{{Check: RoleExists, Status: OK}, trust(test.trust), {Check: STSExchange, Status: test.exchange}})
		if got := findings[1]; got.Status != test.want || (got.Status == OK) != (got.Fix == "") {
			t.Errorf("%s: got %+v, want status %s", title, got, test.want)
		}
	}
}

func TestEvaluateTrustPolicy_unknownIssuer(t *testing.T) {
	x := examinationOf(accountWith(nil))
	x.identity, x.role.trustPolicy = podWithIdentity(nil), url.PathEscape(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:AssumeRoleWithWebIdentity",`+
		`"Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/oidc.example.com"},"Condition":{"StringEquals":{`+
		`"oidc.example.com:aud":"sts.amazonaws.com","oidc.example.com:sub":"system:serviceaccount:shop:cart"}}}]}`)
	x.claims = token.Claims{Subject: "system:serviceaccount:shop:cart", Audience: []string{"sts.amazonaws.com"}}
	want{Unknown, "the cluster's issuer is unknown", "", ""}.check(t, checkTrustPolicy(t.Context(), x))
}

// TestCheckExchange_endpoint checks that the endpoint of one exchange does not change that
// of the next one.
func TestCheckExchange_endpoint(t *testing.T) {
	called := map[string]int{}
	serve := func(name string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			called[name]++
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>InvalidIdentityToken</Code><Message>no</Message></Error></ErrorResponse>`)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	own, usual := serve("own"), serve("usual")
	exchanger := NewExchanger(aws.Config{Region: "us-east-1", BaseEndpoint: aws.String(usual), RetryMaxAttempts: 1})
	for _, endpoint := range []string{own, ""} {
		if _, err := exchanger(t.Context(), endpoint, "", exchange.Input{RoleARN: testRole, SessionName: "doctor", Token: "a.b.c", Duration: 15 * time.Minute}); err == nil {
			t.Error("got credentials, want an error")
		}
	}
	if called["own"] == 0 || called["usual"] == 0 {
		t.Errorf("got calls %v, want both servers", called)
	}
}

func TestEvaluateExchange(t *testing.T) {
	for title, test := range map[string]struct {
		err    error
		broken Code
		want   want
	}{
		"credentials":             {nil, "", want{OK, "STS returned credentials", "", ""}},
		"unreachable":             {&exchange.Error{Reason: exchange.Unreachable, Err: errors.New("refused")}, "", want{Unknown, "not reachable from here", "refused", ""}},
		"rejected, known cause":   {&exchange.Error{Reason: exchange.AccessDenied, Code: "AccessDenied", Message: "no"}, TrustPolicy, want{Broken, "AccessDenied: no", "see check trust_policy", ""}},
		"rejected, unknown cause": {&exchange.Error{Reason: exchange.AccessDenied, Code: "AccessDenied", Message: "no"}, "", want{Broken, "AccessDenied: no", "trust policy", ""}},
		"the region is disabled":  {&exchange.Error{Reason: exchange.RegionDisabled, Code: "RegionDisabledException"}, "", want{Broken, "RegionDisabledException", "", "aws account enable-region --region-name eu-south-1"}},
	} {
		t.Run(title, func(t *testing.T) {
			x := examinationOf(accountWith(nil), "--aws-default-region=eu-south-1")
			x.identity = podWithIdentity(nil)
			if test.broken != "" {
				x.status[test.broken] = Broken
			}
			secret := "ASIASECRET"
			got := x.evaluateExchange(exchange.Result{Credentials: aws.Credentials{AccessKeyID: secret, SecretAccessKey: secret, SessionToken: secret}}, test.err)
			test.want.check(t, got)
			for _, fact := range got.Evidence {
				if strings.Contains(fact.Value, secret) {
					t.Error("got a credential in the evidence")
				}
			}
		})
	}
}

func TestEvaluateExchange_roleChain(t *testing.T) {
	x := examinationOf(accountWith(nil))
	x.identity = podWithIdentity(func(id *identity.Identity) { id.TargetRoleARN = "arn:aws:iam::444455556666:role/target" })
	want{Unknown, "assuming arn:aws:iam::444455556666:role/target was not tried", "sts:AssumeRole", ""}.check(t, x.evaluateExchange(exchange.Result{}, nil))
}

func TestSessionName(t *testing.T) {
	x := examinationOf(accountWith(nil))
	x.identity = podWithIdentity(func(id *identity.Identity) { id.SessionName = "literal" })
	if got := x.sessionName(); got != "literal" {
		t.Errorf("got %s, want literal", got)
	}
	x.identity.SessionName, x.pod = identity.SessionNamePod, injected(nil)
	if got := x.sessionName(); got != "cart" {
		t.Errorf("got %s, want the name of the pod", got)
	}
	x.pod = nil
	if got := x.sessionName(); !identity.IsSessionName(got) {
		t.Errorf("without a pod: got %s, want a valid session name", got)
	}
}
