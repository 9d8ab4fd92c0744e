package dos_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/testcerts"
)

// clientCertificate is the client certificate of an API server.
type clientCertificate = tls.Certificate

func newClientCertificate(t *testing.T, dir string) (certificate *clientCertificate, caFile string) {
	t.Helper()
	authority, err := testcerts.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	caFile = dir + "/client-ca.crt"
	if err := testcerts.Replace(caFile, authority.PEM()); err != nil {
		t.Fatal(err)
	}
	issued, err := authority.Issue(testcerts.Options{Name: "kube-apiserver"})
	if err != nil {
		t.Fatal(err)
	}
	pair, err := issued.Pair()
	if err != nil {
		t.Fatal(err)
	}
	return &pair, caFile
}

// selfSigned returns a self-signed certificate with about the given size in bytes.
func selfSigned(size int) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: slices.Repeat([]string{strings.Repeat("x", 98)}, size/100)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// timeoutOfAReview is the API server's default timeout of webhooks.
const timeoutOfAReview = 10 * time.Second

// client returns an HTTP client like an API server's.
func (target *target) client() *http.Client {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(target.CABundle())
	config := &tls.Config{RootCAs: roots}
	if target.certificate != nil {
		config.Certificates = []tls.Certificate{*target.certificate}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

// reviewOf returns the AdmissionReview of a pod. spec is a JSON object.
func reviewOf(spec string) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a-uid","operation":"CREATE",`+
		`"namespace":"default","kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},`+
		`"object":{"apiVersion":"v1","kind":"Pod","metadata":{"name":"app"},"spec":%s}}}`, spec)
}

// typicalPod returns the AdmissionReview of a pod as controllers create it: 6 KB with two
// containers, variables from Secrets, and managedFields.
func typicalPod(serviceAccount string) []byte {
	var variables, fields []string
	for i := range 8 {
		variables = append(variables, fmt.Sprintf(`{"name":"SETTING_%d","valueFrom":{"secretKeyRef":{"name":"credentials","key":"setting-%d"}}}`, i, i))
		fields = append(fields, fmt.Sprintf(`"k:{\"name\":\"SETTING_%d\"}":{".":{},"f:name":{},"f:valueFrom":{".":{},"f:secretKeyRef":{}}}`, i))
	}
	container := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"image":"registry.example.com/team/app:1.2.3","env":[%s],"resources":{"requests":{"cpu":"200m"}},`+
			`"volumeMounts":[{"name":"kube-api-access","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],`+
			`"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}`, name, strings.Join(variables, ","))
	}
	managed := strings.Join(fields, ",")
	metadata := fmt.Sprintf(`"metadata":{"labels":{"app":"app","pod-template-hash":"5d4f8c7b9"},"managedFields":[{"manager":"kube-controller-manager",`+
		`"operation":"Update","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{"f:env":{%s}},"k:{\"name\":\"sidecar\"}":{"f:env":{%s}}}}}}],`, managed, managed)
	spec := fmt.Sprintf(`{"serviceAccountName":%q,"containers":[%s,%s]}`, serviceAccount, container("app"), container("sidecar"))
	return bytes.Replace(reviewOf(spec), []byte(`"metadata":{`), []byte(metadata), 1)
}

const smallSpec = `{"serviceAccountName":"app","containers":[{"name":"app","image":"x","env":[{"name":"A","value":"a"}]}]}`

// review requests a pod and returns an error unless it gets its role. Only the ServiceAccount
// app has one here.
func (target *target) review(ctx context.Context, client *http.Client, serviceAccount string) error {
	ctx, cancel := context.WithTimeout(ctx, timeoutOfAReview)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target.URL()+"/mutate?timeout=10s", bytes.NewReader(typicalPod(serviceAccount)))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	var review admissionv1.AdmissionReview
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", response.Status, body)
	}
	if err := json.Unmarshal(body, &review); err != nil {
		return err
	}
	if strings.Contains(string(review.Response.Patch), appRole) != (serviceAccount == "app") {
		return fmt.Errorf("got patch %[2]s for a pod of ServiceAccount %[1]s", serviceAccount, review.Response.Patch)
	}
	return nil
}

// attackConn is a running attack.
type attackConn struct {
	target   *target
	t        *testing.T
	attempts atomic.Int64
}

// dial opens a TCP connection that is closed when ctx ends.
func (s *attackConn) dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	if runtime.GOOS == "linux" && !s.target.guarded {
		// All of 127.0.0.0/8 is this machine, so this is the address of another host for the
		// webhook. With client certificates, the attacker has the API server's address.
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	}
	conn, err := dialer.DialContext(ctx, "tcp", s.target.address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() })
	return conn, nil
}

// dialTLS opens a TLS connection.
func (s *attackConn) dialTLS(ctx context.Context, certificates ...tls.Certificate) (*tls.Conn, error) {
	conn, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	overTLS := tls.Client(conn, &tls.Config{
		InsecureSkipVerify: true, // an attacker does not verify certificates
		Certificates:       certificates,
		// The cheapest curve for the attacker.
		CurvePreferences: []tls.CurveID{tls.X25519},
	})
	if err := overTLS.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return overTLS, nil
}
