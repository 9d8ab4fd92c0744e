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

// ClientAuth restricts the clients that may send admission requests. The zero value
// allows all clients.
type ClientAuth struct {
	// Roots returns the CAs that sign client certificates. It must return the same
	// pool until they change. If Roots is nil, no certificate is required.
	Roots func() *x509.CertPool
	// AllowedNames are the allowed names. A certificate must have one of them as
	// common name or in its subjectAltName; nil allows any name. A CA may also sign
	// certificates of clients other than API servers.
	AllowedNames []string
}

// requireClientCert rejects requests without an accepted client certificate. It does
// not read their bodies.
//
// The handshake accepts any certificate, and proves that the client has its key. The
// certificate is verified here for two reasons. The client and the log get a sentence
// and not a TLS alert. And connections and TLS sessions last long: the certificate is
// verified again after the CAs change or the certificate expires.
func (s *Server) requireClientCert(next http.Handler) http.Handler {
	if s.options.ClientAuth.Roots == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		peer := peerOf(r.Context())
		if err := peer.authorize(&s.options.ClientAuth, r.TLS, start); err != nil {
			s.connTracker.setAuthorized(peer.trackedConn, false)
			// Do not read the rest of the body.
			w.Header().Set("Connection", "close")
			s.reject(w, r, time.Since(start), err)
			return
		}
		s.connTracker.setAuthorized(peer.trackedConn, true)
		next.ServeHTTP(w, r)
	})
}

// maxClientChainBytes is the maximum size of the certificates of a client. They stay in
// memory as long as the connection, and take several times their size. The certificate
// of an API server has 2 KiB, or 4 KiB with an intermediate CA.
const maxClientChainBytes = 8 << 10

// checkChainSize returns an error if the client's certificates are larger than
// maxClientChainBytes. It has the signature of tls.Config.VerifyConnection.
func checkChainSize(state tls.ConnectionState) error {
	size := 0
	for _, certificate := range state.PeerCertificates {
		size += len(certificate.Raw)
	}
	if size > maxClientChainBytes {
		return fmt.Errorf("client certificates have %d bytes, more than the limit of %d", size, maxClientChainBytes)
	}
	return nil
}

// clientState is the client of a connection, with the cached result of the last
// verification of its certificate.
type clientState struct {
	trackedConn *trackedConn

	mu    sync.Mutex
	roots *x509.CertPool
	until time.Time
	err   *httperror.Error
}

type peerKey struct{}

// peerOf returns the state of the client of a request's connection. If there is none,
// as in a test without a server, it returns a new one.
func peerOf(ctx context.Context) *clientState {
	if p, ok := ctx.Value(peerKey{}).(*clientState); ok {
		return p
	}
	return new(clientState)
}

// rejectionTTL is how long the rejection of a certificate is cached. Verifying an
// invalid certificate costs more than verifying a valid one, and an attacker can cause
// it with every request.
const rejectionTTL = time.Second

// authorize returns an error if the client may not send admission requests. It caches
// the result until the CAs change, the certificate expires, or rejectionTTL has passed
// after a rejection.
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
			Err: fmt.Errorf("client certificate %.200q is not accepted, only the API server may send admission requests: %w",
				state.PeerCertificates[0].Subject.String(), err),
		}
		return p.err
	}
	p.until = expiry
	return nil
}

// verify returns the time until which the first certificate of the chain is valid. It
// returns an error if the certificate is not valid or has none of the names.
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
		return time.Time{}, fmt.Errorf("%w; accepted certificates are signed by a CA in --client-ca-file, for client authentication", err)
	}
	if names != nil && !slices.ContainsFunc(namesOf(chain[0]), func(name string) bool { return slices.Contains(names, name) }) {
		return time.Time{}, fmt.Errorf("none of the names of the certificate is in --client-ca-allowed-names: %s", quote(namesOf(chain[0])))
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

// maxQuotedNames limits the log line of a certificate with thousands of names.
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
