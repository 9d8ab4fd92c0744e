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
	// timeout bounds each question to an address or to the DNS.
	timeout = 10 * time.Second
	// maxConcurrent is how many addresses are asked at the same time.
	maxConcurrent = 8
)

// Endpoint is one of the addresses at which a document is to be had.
type Endpoint struct {
	Host string `json:"host"`
	// Address is empty where the host has none.
	Address  string      `json:"address,omitempty"`
	Document issuer.Step `json:"document"`
	URL      string      `json:"url"`
	State    State       `json:"state"`
	Problem  string      `json:"problem,omitempty"`
	// Missing are the ids of keys that the key set does not have.
	Missing []string `json:"missing,omitempty"`
	Cache   *Cache   `json:"cache,omitempty"`

	jwksURI string
	keys    *jose.JSONWebKeySet
}

// withProblem completes an edge by what is amiss.
func (e Endpoint) withProblem(state State, problem string) Endpoint {
	e.State, e.Problem = state, problem
	return e
}

// probeAddresses asks each of the addresses of a URL's host for the document there.
func (c Check) probeAddresses(ctx context.Context, document issuer.Step, at string, read func(Endpoint, []byte) Endpoint) []Endpoint {
	found := Endpoint{Document: document, URL: at, State: OK}
	parsed, err := url.Parse(at)
	if err != nil || parsed.Scheme != "https" || parsed.Hostname() == "" {
		return []Endpoint{found.withProblem(Broken, "it is not a URL that begins with https://")}
	}
	found.Host = parsed.Hostname()
	addresses, err := c.lookup(ctx, found.Host)
	if err != nil {
		return []Endpoint{found.withProblem(dnsErrorState(err), fmt.Sprintf("the DNS has no address of %s from here: %v", found.Host, err))}
	}
	edges := make([]Endpoint, len(addresses))
	var group errgroup.Group
	group.SetLimit(maxConcurrent)
	for i, address := range addresses {
		edge := found
		edge.Address = address.Unmap().String()
		group.Go(func() error {
			edges[i] = c.fetch(ctx, edge, address, read)
			return nil
		})
	}
	_ = group.Wait() // what fails is in the edge
	return edges
}

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

// dnsErrorState says what it means that a host has no address: that there is none is for
// everybody, that the DNS does not answer is not.
func dnsErrorState(err error) State {
	if failure, ok := errors.AsType[*net.DNSError](err); ok && failure.IsNotFound {
		return Broken
	}
	return Unknown
}

func (c Check) fetch(ctx context.Context, edge Endpoint, address netip.Addr, read func(Endpoint, []byte) Endpoint) Endpoint {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, edge.URL, nil)
	if err != nil {
		return edge.withProblem(Broken, err.Error())
	}
	request.Header.Set("Accept", issuer.Accept)
	client := c.clientFor(edge.Host, address)
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return edge.withProblem(requestErrorState(err))
	}
	defer func() { _ = response.Body.Close() }()
	edge.Cache = cacheOf(response.Header, c.Now())
	body, err := issuer.ReadBody(response)
	if err != nil {
		return edge.withProblem(Broken, err.Error())
	}
	return read(edge, body)
}

// clientFor returns a client that finds a host at just one address. Other hosts, to
// which it may be redirected, it finds as ever. Proxies are passed by: they would
// choose the address.
func (c Check) clientFor(host string, address netip.Addr) *http.Client {
	var dialer net.Dialer
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			if wanted, port, err := net.SplitHostPort(to); err == nil && strings.EqualFold(wanted, host) {
				to = net.JoinHostPort(address.String(), port)
			}
			return dialer.DialContext(ctx, network, to)
		},
		TLSClientConfig:   &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}}
}

// requestErrorState says what it means that an address gives no answer. What is amiss with
// the network may be so from here alone. What is amiss with the certificate is so for
// everybody, but for a CA that only others know.
func requestErrorState(err error) (State, string) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return Unknown, fmt.Sprintf("its certificate is of a CA that is not known here: give the CA's by --issuer-ca-file, and its thumbprint to IAM: %v", cause(err))
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return Broken, cause(err).Error()
	}
	return Unknown, fmt.Sprintf("it does not answer from here: %v", cause(err))
}

// cause takes off the method and the URL, which the edge has already.
func cause(err error) error {
	if failure, ok := errors.AsType[*url.Error](err); ok {
		return failure.Err
	}
	return err
}

func (c Check) readDiscovery(edge Endpoint, body []byte) Endpoint {
	uri, err := issuer.ParseDiscovery(body, c.Issuer)
	if err != nil {
		return edge.withProblem(Broken, err.Error())
	}
	edge.jwksURI = uri
	return edge
}

func (c Check) readKeySet(edge Endpoint, body []byte) Endpoint {
	keys, err := issuer.ParseKeySet(body)
	if err != nil {
		return edge.withProblem(Broken, err.Error())
	}
	edge.keys = &keys
	return c.compare(edge)
}
