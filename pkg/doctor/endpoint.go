package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/util/cert"
)

// probeTimeout is the timeout for connecting to the webhook's endpoint.
const probeTimeout = 10 * time.Second

// Forwarder connects to a port of a pod through the API server. It returns an error if
// the connection fails or the user may not forward ports.
type Forwarder func(ctx context.Context, namespace, pod string, port int) (net.Conn, error)

// errForwardForbidden is the error of a Forwarder if the user may not forward ports.
var errForwardForbidden = errors.New("not allowed to create pods/portforward")

// endpointInfo is the data read from the webhook's endpoint.
type endpointInfo struct {
	// unknown is set if the endpoint is not reachable from here; the API server may
	// still reach it. failed is set if the endpoint does not respond.
	unknown, failed *Finding
	// served is the certificate chain of the webhook. name is the DNS name that the API
	// server expects.
	served []*x509.Certificate
	name   string
	at     string
	health int
}

func (d *Doctor) endpoint(ctx context.Context) *endpointInfo {
	return d.known.endpoint.get(struct{}{}, func() *endpointInfo { return d.readEndpoint(ctx) })
}

func (d *Doctor) readEndpoint(ctx context.Context) *endpointInfo {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	v := d.webhook(ctx)
	if v.reference() != nil {
		return d.inspectViaPod(ctx, v)
	}
	return d.inspectURL(ctx, *v.chosen().webhook.ClientConfig.URL)
}

func unknownEndpoint(finding Finding) *endpointInfo { return &endpointInfo{unknown: &finding} }

func (d *Doctor) inspectURL(ctx context.Context, raw string) *endpointInfo {
	host, port, err := addressOf(raw)
	if err != nil {
		failed := newFinding(Broken, "%v", err)
		return &endpointInfo{failed: &failed}
	}
	if isLoopback(host) && !d.apiServerIsHere() {
		return unknownEndpoint(newFinding(Unknown, "%s is on the API server's host and not reachable from here", raw).
			withReason("EKS calls its managed webhook this way; check %s shows whether it responds", WebhookDryRun))
	}
	at := net.JoinHostPort(host, port)
	return inspectEndpoint(ctx, at, host, func(ctx context.Context) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", at)
	})
}

func (d *Doctor) apiServerIsHere() bool {
	parsed, err := url.Parse(d.APIServer)
	return err == nil && isLoopback(parsed.Hostname())
}

// inspectViaPod connects to a pod behind the Service. It forwards a port, because the API
// server's proxy for Services does not return the certificate.
func (d *Doctor) inspectViaPod(ctx context.Context, v *webhookInfo) *endpointInfo {
	reference := v.reference()
	switch {
	case v.serviceErr != nil:
		return unknownEndpoint(readErrorFinding(permission{verb: "get", resource: "services", namespace: reference.Namespace, name: reference.Name}, v.serviceErr))
	case v.podsErr != nil:
		return unknownEndpoint(readErrorFinding(permission{verb: "list", resource: "pods", namespace: reference.Namespace}, v.podsErr))
	case d.Forward == nil:
		return unknownEndpoint(newFinding(Unknown, "cannot reach the webhook in the cluster without port forwarding"))
	}
	pod, port := targetOf(v)
	if pod == "" {
		return unknownEndpoint(newFinding(Unknown, "Service %s/%s has no ready pod to connect to", reference.Namespace, reference.Name))
	}
	// The API server expects this name, whatever the address it calls
	// (k8s.io/apiserver/pkg/util/webhook/client.go).
	name := reference.Name + "." + reference.Namespace + ".svc"
	at := fmt.Sprintf("port %d of pod %s/%s", port, reference.Namespace, pod)
	info := inspectEndpoint(ctx, at, name, func(ctx context.Context) (net.Conn, error) {
		return d.Forward(ctx, reference.Namespace, pod, port)
	})
	if info.failed != nil {
		// The forwarding may have failed, and not the webhook.
		info.unknown, info.failed = info.failed, nil
		info.unknown.Status = Unknown
	}
	return info
}

// targetOf returns a ready pod behind the Service and its port, or "" if there is none.
func targetOf(v *webhookInfo) (pod string, port int) {
	wanted := int32(443)
	if p := v.reference().Port; p != nil {
		wanted = *p
	}
	target := intstr.FromInt32(wanted)
	for _, p := range v.service.Spec.Ports {
		if p.Port == wanted && (p.TargetPort.IntVal != 0 || p.TargetPort.StrVal != "") {
			target = p.TargetPort
		}
	}
	for i := range v.pods {
		if !isReady(&v.pods[i]) {
			continue
		}
		if target.Type == intstr.Int {
			return v.pods[i].Name, target.IntValue()
		}
		for _, c := range v.pods[i].Spec.Containers {
			for _, p := range c.Ports {
				if p.Name == target.StrVal {
					return v.pods[i].Name, int(p.ContainerPort)
				}
			}
		}
	}
	return "", 0
}

// inspectEndpoint connects to the webhook, and reads its certificates and its health.
func inspectEndpoint(ctx context.Context, at, name string, dial func(context.Context) (net.Conn, error)) *endpointInfo {
	v := &endpointInfo{at: at, name: name}
	failed := func(err error) *endpointInfo {
		finding := newFinding(Broken, "%s does not respond: %v", at, err)
		if errors.Is(err, errForwardForbidden) {
			finding = readErrorFinding(permission{verb: "create", resource: "pods/portforward"}, apierrors.NewForbidden(corev1.Resource("pods/portforward"), at, err))
		}
		v.failed = &finding
		return v
	}
	plain, err := dial(ctx)
	if err != nil {
		return failed(err)
	}
	defer func() { _ = plain.Close() }()
	if deadline, ok := ctx.Deadline(); ok {
		_ = plain.SetDeadline(deadline)
	}
	secured := tls.Client(plain, &tls.Config{
		ServerName: name, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // evaluateCertificate verifies it, to report the exact fault
	})
	if err := secured.HandshakeContext(ctx); err != nil {
		return failed(err)
	}
	v.served = secured.ConnectionState().PeerCertificates
	v.health, err = health(ctx, secured, name)
	if err != nil {
		return failed(err)
	}
	return v
}

// health returns the HTTP status code of /healthz, requested over a connection.
func health(ctx context.Context, over net.Conn, host string) (int, error) {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext:    func(context.Context, string, string) (net.Conn, error) { return over, nil },
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+net.JoinHostPort(host, "443")+"/healthz", nil)
	if err != nil {
		return 0, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err
	}
	_ = response.Body.Close()
	return response.StatusCode, nil
}

func evaluateEndpoint(v *endpointInfo) Finding {
	switch {
	case v.unknown != nil:
		return *v.unknown
	case v.failed != nil && v.failed.Status == Broken:
		return v.failed.withReason("the API server calls the webhook for each new pod; start the webhook, or fix its address or the network path")
	case v.failed != nil:
		return *v.failed
	case v.health != http.StatusOK:
		return newFinding(Warning, "%s is unhealthy: /healthz returned HTTP %d", v.at, v.health)
	default:
		return newFinding(OK, "%s responds", v.at)
	}
}

// evaluateCertificate checks whether the API server trusts the webhook's certificate.
func evaluateCertificate(r *webhookEntry, bundle []byte, v *endpointInfo, now time.Time) Finding {
	switch {
	case v.unknown != nil:
		return *v.unknown
	case v.failed != nil:
		return Finding{Status: Skipped, Summary: fmt.Sprintf("skipped: check %s is %s", WebhookReachable, v.failed.Status)}
	}
	served := v.served[0]
	options := x509.VerifyOptions{DNSName: v.name, CurrentTime: now, Intermediates: x509.NewCertPool()}
	for _, intermediate := range v.served[1:] {
		options.Intermediates.AddCert(intermediate)
	}
	if len(bundle) == 0 && r.webhook.ClientConfig.Service != nil {
		return withBundleFix(r, newFinding(Broken, "caBundle of MutatingWebhookConfiguration %s is empty", r.name()).
			withReason("the API server trusts no certificate of the webhook"))
	}
	if len(bundle) > 0 {
		authorities, err := cert.ParseCertsPEM(bundle)
		if err != nil {
			return withBundleFix(r, newFinding(Broken, "caBundle of MutatingWebhookConfiguration %s is invalid: %v", r.name(), err))
		}
		options.Roots = x509.NewCertPool()
		for _, authority := range authorities {
			options.Roots.AddCert(authority)
		}
	}
	facts := func(f Finding) Finding {
		return f.withEvidence("subject", served.Subject.String()).withEvidence("issuer", served.Issuer.String()).
			withEvidence("not after", served.NotAfter.UTC().Format(time.RFC3339))
	}
	if _, err := served.Verify(options); err != nil {
		return facts(withBundleFix(r, evaluateCertificateError(err, v.name, served)))
	}
	left, life := served.NotAfter.Sub(now), served.NotAfter.Sub(served.NotBefore)
	if left < life/10 {
		return facts(withBundleFix(r, newFinding(Warning, "the webhook's certificate expires in %s and was not renewed", left.Round(time.Minute))))
	}
	return facts(newFinding(OK, "the API server trusts the webhook's certificate for %s", v.name))
}

func evaluateCertificateError(err error, name string, served *x509.Certificate) Finding {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return newFinding(Broken, "no CA in caBundle signed the webhook's certificate").
			withReason("the API server does not trust the webhook's certificate, so the failurePolicy applies to new pods")
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return newFinding(Broken, "the webhook's certificate is not for %s, the name that the API server uses", name).
			withReason("the certificate is for %s", names(served))
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return newFinding(Broken, "the webhook's certificate is valid only from %s to %s",
			served.NotBefore.UTC().Format(time.RFC3339), served.NotAfter.UTC().Format(time.RFC3339))
	}
	return newFinding(Broken, "the API server does not trust the webhook's certificate: %v", err)
}

func names(served *x509.Certificate) string {
	all := append([]string(nil), served.DNSNames...)
	for _, ip := range served.IPAddresses {
		all = append(all, ip.String())
	}
	if len(all) == 0 {
		return "no name"
	}
	return strings.Join(all, ", ")
}

// withBundleFix adds the command that makes the caBundle match the certificate. With
// cert-manager it deletes the Secret, and for a Service it restarts the webhook. For a
// URL it replaces the caBundle.
func withBundleFix(r *webhookEntry, finding Finding) Finding {
	const injectFrom = "cert-manager.io/inject-ca-from"
	client := r.webhook.ClientConfig
	switch source := r.configuration.Annotations[injectFrom]; {
	case source != "":
		namespace, name, _ := strings.Cut(source, "/")
		return finding.withFix(kubectl+" delete secret -n %s $(kubectl get certificate -n %s %s -o jsonpath='{.spec.secretName}')", shell(namespace), shell(namespace), shell(name))
	case client.Service != nil:
		return finding.withFix(kubectl+" rollout restart deployment/%s -n %s", client.Service.Name, client.Service.Namespace)
	default:
		return finding.withFix(kubectl+` patch mutatingwebhookconfiguration %s --type=json -p='[{"op":"add","path":"/webhooks/%d/clientConfig/caBundle","value":"'$(base64 -w0 CA.pem)'"}]'`, r.name(), r.index)
	}
}
