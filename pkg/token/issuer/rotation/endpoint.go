package rotation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/errgroup"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

const (
	// timeout limits the duration of each HTTP request and DNS lookup.
	timeout = 10 * time.Second
	// maxConcurrent is the maximum number of concurrent HTTP requests.
	maxConcurrent = 8
)

// Endpoint is one address of a host that serves a document, and the result of its check.
type Endpoint struct {
	Host string `json:"host"`
	// Address is the IP address. It is empty if the host has none.
	Address  string      `json:"address,omitempty"`
	Document issuer.Step `json:"document"`
	URL      string      `json:"url"`
	State    State       `json:"state"`
	Problem  string      `json:"problem,omitempty"`
	// Missing lists the IDs of the keys that are missing from the key set.
	Missing []string `json:"missing,omitempty"`
	Cache   *Cache   `json:"cache,omitempty"`

	jwksURI string
	keys    *jose.JSONWebKeySet
}

// withProblem returns a copy of the endpoint with a state and a problem.
func (e Endpoint) withProblem(state State, problem string) Endpoint {
	e.State, e.Problem = state, problem
	return e
}

// probeAddresses reads the document at documentURL from each address of its host, and returns
// one endpoint for each address.
func (c Check) probeAddresses(ctx context.Context, document issuer.Step, documentURL string, read func(Endpoint, []byte) Endpoint) []Endpoint {
	found := Endpoint{Document: document, URL: documentURL, State: OK}
	parsed, err := url.Parse(documentURL)
	if err != nil || parsed.Scheme != "https" || parsed.Hostname() == "" {
		return []Endpoint{found.withProblem(Broken, "not a URL that starts with https://")}
	}
	found.Host = parsed.Hostname()
	addresses, err := c.lookup(ctx, found.Host)
	if err != nil {
		return []Endpoint{found.withProblem(dnsErrorState(err), fmt.Sprintf("cannot resolve %s from this machine: %v", found.Host, err))}
	}
	endpoints := make([]Endpoint, len(addresses))
	var group errgroup.Group
	group.SetLimit(maxConcurrent)
	for i, address := range addresses {
		endpoint := found
		endpoint.Address = address.Unmap().String()
		group.Go(func() error {
			endpoints[i] = c.fetch(ctx, endpoint, address, read)
			return nil
		})
	}
	_ = group.Wait() // errors are in the endpoints
	return endpoints
}

// lookup returns the IP addresses of a host.
func (c Check) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if address, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{address}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addresses, err := c.Resolver.LookupNetIP(ctx, c.Network, host)
	if err == nil && len(addresses) == 0 {
		err = &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
	}
	return addresses, err
}

// dnsErrorState returns Broken if the host does not exist, which is the same for all clients.
// It returns Unknown for other errors, which other clients may not have.
func dnsErrorState(err error) State {
	if failure, ok := errors.AsType[*net.DNSError](err); ok && failure.IsNotFound {
		return Broken
	}
	return Unknown
}

// fetch requests the document from one address and passes the body to read.
func (c Check) fetch(ctx context.Context, endpoint Endpoint, address netip.Addr, read func(Endpoint, []byte) Endpoint) Endpoint {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint.URL, nil)
	if err != nil {
		return endpoint.withProblem(Broken, err.Error())
	}
	request.Header.Set("Accept", issuer.Accept)
	client := c.clientFor(endpoint.Host, address)
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return endpoint.withProblem(requestErrorState(err))
	}
	defer func() { _ = response.Body.Close() }()
	endpoint.Cache = cacheOf(response.Header, c.Now())
	body, err := issuer.ReadBody(response)
	if err != nil {
		return endpoint.withProblem(Broken, err.Error())
	}
	return read(endpoint, body)
}

// clientFor returns a client that connects to the given address for host. It resolves other
// hosts, for example after a redirect, as usual. It does not use a proxy, because a proxy
// would choose the address itself.
func (c Check) clientFor(host string, address netip.Addr) *http.Client {
	var dialer net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			if targetHost, port, err := net.SplitHostPort(target); err == nil && strings.EqualFold(targetHost, host) {
				target = net.JoinHostPort(address.String(), port)
			}
			return dialer.DialContext(ctx, network, target)
		},
		TLSClientConfig:   &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}}
}

// requestErrorState returns the state and the problem for a failed request. A network error can
// affect only this machine, so the state is Unknown. An invalid certificate is invalid for all
// clients, so the state is Broken. If only the CA is unknown, other clients may trust it, so
// the state is Unknown.
func requestErrorState(err error) (State, string) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return Unknown, fmt.Sprintf("certificate is signed by a CA that this machine does not trust; pass the CA with --issuer-ca-file, and add its thumbprint to the provider in IAM: %v", cause(err))
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Broken, cause(err).Error()
	}
	return Unknown, fmt.Sprintf("no response to this machine: %v", cause(err))
}

// cause returns an error without the method and the URL, which the endpoint already contains.
func cause(err error) error {
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err
	}
	return err
}

// readDiscovery adds the JWKS URI in a discovery document to the endpoint.
func (c Check) readDiscovery(endpoint Endpoint, body []byte) Endpoint {
	uri, err := issuer.ParseDiscovery(body, c.Issuer)
	if err != nil {
		return endpoint.withProblem(Broken, err.Error())
	}
	endpoint.jwksURI = uri
	return endpoint
}

// readKeySet adds the keys in a key set to the endpoint and compares them.
func (c Check) readKeySet(endpoint Endpoint, body []byte) Endpoint {
	keys, err := issuer.ParseKeySet(body)
	if err != nil {
		return endpoint.withProblem(Broken, err.Error())
	}
	endpoint.keys = &keys
	return c.compare(endpoint)
}
