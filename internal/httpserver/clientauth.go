package httpserver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
)

// ClientAuth says who may send admission requests. Its zero value is anyone.
type ClientAuth struct {
	// Roots returns the authorities that sign clients' certificates: the same
	// pool until they change. nil asks for no certificate.
	Roots func() *x509.CertPool
	// AllowedNames are those of which a certificate must bear one, as its subject's
	// common name or as a name of its subjectAltName; nil permits any. An
	// authority may sign for others than API servers.
	AllowedNames []string
}

// requireClientCert refuses requests without a certificate that may ask, and
// reads nothing of their bodies.
//
// The handshake takes any certificate, and proves that the client has its key;
// what it is worth is judged here, for two reasons. A client, and the log, get
// a sentence and not a TLS alert. And a connection lasts, and a session can be
// resumed, for long: a certificate is judged again once the authorities have
// changed or it has expired.
func (s *Server) requireClientCert(next http.Handler) http.Handler {
	if s.options.ClientAuth.Roots == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		peer := peerOf(r.Context())
		if err := peer.authorize(&s.options.ClientAuth, r.TLS, start); err != nil {
			s.connTracker.setAuthorized(peer.trackedConn, false)
			// The rest of the body, if there is any, is not worth its reading.
			w.Header().Set("Connection", "close")
			s.reject(w, r, time.Since(start), err)
			return
		}
		s.connTracker.setAuthorized(peer.trackedConn, true)
		next.ServeHTTP(w, r)
	})
}

// maxClientChainBytes bounds the certificates that a client shows: they are kept as
// long as its connection, and take several times as much. An API server's takes
// 2 KiB, with an intermediate 4.
const maxClientChainBytes = 8 << 10

// checkChainSize is made for tls.Config.VerifyConnection.
func checkChainSize(state tls.ConnectionState) error {
	size := 0
	for _, certificate := range state.PeerCertificates {
		size += len(certificate.Raw)
	}
	if size > maxClientChainBytes {
		return fmt.Errorf("the client's certificates take %d bytes, more than %d", size, maxClientChainBytes)
	}
	return nil
}

// clientState is the client of a connection, and what was judged of it last.
type clientState struct {
	trackedConn *trackedConn

	mu    sync.Mutex
	roots *x509.CertPool
	until time.Time
	err   *httperror.Error
}

type peerKey struct{}

// peerOf returns the peer of a request's connection. Where there is none, as in
// a test with no server, it is a new one, so that nothing is remembered.
func peerOf(ctx context.Context) *clientState {
	if p, ok := ctx.Value(peerKey{}).(*clientState); ok {
		return p
	}
	return new(clientState)
}

// rejectionTTL is how long a certificate that was refused is not looked at again:
// its verification costs more than that of a good one, and an attacker may ask
// for it as often as he likes.
const rejectionTTL = time.Second

func (p *clientState) authorize(clients *ClientAuth, state *tls.ConnectionState, now time.Time) *httperror.Error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return &httperror.Error{
			Status: http.StatusForbidden, Reason: ClientCertificateMissing,
			Err: errors.New("client certificate required: only the API server may send admission requests; configure it with --admission-control-config-file (see --client-ca-file)"),
		}
	}
	roots := clients.Roots()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.roots == roots && now.Before(p.until) {
		return p.err
	}
	p.roots, p.err, p.until = roots, nil, now.Add(rejectionTTL)
	expiry, err := verify(state.PeerCertificates, roots, clients.AllowedNames, now)
	if err != nil {
		p.err = &httperror.Error{
			Status: http.StatusForbidden, Reason: ClientCertificateRefused,
			Err: fmt.Errorf("only the API server may ask, and the certificate of this client, %.200q, is not its: %w",
				state.PeerCertificates[0].Subject.String(), err),
		}
		return p.err
	}
	p.until = expiry
	return nil
}

// verify returns until when the first certificate of the chain may be used, or
// why it may not.
func verify(chain []*x509.Certificate, roots *x509.CertPool, names []string, now time.Time) (time.Time, error) {
	intermediates := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	verified, err := chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("%w; the certificates that are accepted are signed by --client-ca-file, for use by clients", err)
	}
	if names != nil && !slices.ContainsFunc(namesOf(chain[0]), func(name string) bool { return slices.Contains(names, name) }) {
		return time.Time{}, fmt.Errorf("none of its names is in --client-ca-allowed-names: it has %s", quote(namesOf(chain[0])))
	}
	var expiry time.Time
	for _, chain := range verified {
		end := chain[0].NotAfter
		for _, certificate := range chain[1:] {
			if certificate.NotAfter.Before(end) {
				end = certificate.NotAfter
			}
		}
		if end.After(expiry) {
			expiry = end
		}
	}
	return expiry, nil
}

func namesOf(certificate *x509.Certificate) []string {
	names := append([]string{certificate.Subject.CommonName}, certificate.DNSNames...)
	names = append(names, certificate.EmailAddresses...)
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	for _, uri := range certificate.URIs {
		names = append(names, uri.String())
	}
	return names
}

// maxQuotedNames keeps a certificate of ten thousand names out of the log.
const maxQuotedNames = 5

func quote(names []string) string {
	var quoted []string
	for _, name := range names[:min(len(names), maxQuotedNames)] {
		quoted = append(quoted, fmt.Sprintf("%.100q", name))
	}
	if len(names) > maxQuotedNames {
		quoted = append(quoted, fmt.Sprintf("and %d more", len(names)-maxQuotedNames))
	}
	return strings.Join(quoted, ", ")
}
