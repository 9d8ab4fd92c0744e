// Package rotation checks that new keys are published before they sign tokens. It checks each
// address of the public issuer, because the servers of a content delivery network can differ.
// It also checks how long caches can hold an older key set. It only reads.
package rotation

import (
	"context"
	"crypto"
	"crypto/x509"
	"net/netip"
	"slices"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// State is the result of a check.
type State string

// The states, from best to worst.
const (
	OK      State = "ok"
	Unknown State = "unknown"
	Broken  State = "broken"
)

// worseState returns the worse of two states.
func worseState(a, b State) State {
	order := []State{OK, Unknown, Broken}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// Key is a key that signs tokens now or will sign them.
type Key struct {
	ID string
	// Public is nil if only the ID is known.
	Public crypto.PublicKey
	// From is the source of the key: a file or the cluster.
	From string
	// Signs reports whether the key already signs tokens. The check of caches is only for
	// keys that do not sign yet.
	Signs bool
}

// Resolver looks up the IP addresses of a host. *net.Resolver implements it.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Check is the configuration of a check of an issuer.
type Check struct {
	Issuer string
	Keys   []Key
	// Resolver looks up the addresses of hosts. Network selects their type: ip, ip4 or ip6.
	Resolver Resolver
	Network  string
	// Roots holds the trusted CAs. The default are the CAs of the system.
	Roots *x509.CertPool
	Now   func() time.Time
}

// Report is the result of a check.
type Report struct {
	Issuer string `json:"issuer"`
	State  State  `json:"state"`
	// Problems explains the state. It is empty if the state is OK.
	Problems  []Problem   `json:"problems,omitempty"`
	Keys      []KeyReport `json:"keys"`
	Endpoints []Endpoint  `json:"endpoints"`
	// SafeFrom is the time from which no cache holds an older key set. It is nil if the time
	// is unknown or if all keys already sign.
	SafeFrom *time.Time `json:"safeFrom,omitempty"`
	// Notes contains information that does not affect the state.
	Notes []string `json:"notes,omitempty"`
}

// Problem is a reason for a state that is not OK.
type Problem struct {
	State State `json:"state"`
	// Text is the description for the user.
	Text string `json:"text"`
}

// KeyReport is the result for one key.
type KeyReport struct {
	ID    string `json:"id"`
	From  string `json:"source"`
	Signs bool   `json:"signs"`
	// Published is the number of addresses whose key set contains the key. Of is the number of
	// addresses that returned a key set.
	Published int   `json:"published"`
	Of        int   `json:"total"`
	State     State `json:"state"`
}

// Run reads the discovery document and the key set from each of their addresses, and returns
// the report.
func (c Check) Run(ctx context.Context) Report {
	report := Report{Issuer: c.Issuer, State: OK}
	discoveries := c.probeAddresses(ctx, issuer.StepDiscovery, issuer.DiscoveryURL(c.Issuer), c.readDiscovery)
	report.Endpoints = discoveries
	for _, uri := range jwksURIs(discoveries) {
		report.Endpoints = append(report.Endpoints, c.probeAddresses(ctx, issuer.StepKeySet, uri, c.readKeySet)...)
	}
	if uris := jwksURIs(discoveries); len(uris) > 1 {
		report.AddProblem(Broken, "discovery documents have different values of jwks_uri: "+listed(uris))
	}
	c.evaluate(&report)
	return report
}

// jwksURIs returns the distinct JWKS URIs in the discovery documents.
func jwksURIs(endpoints []Endpoint) []string {
	var uris []string
	for _, endpoint := range endpoints {
		if endpoint.jwksURI != "" {
			uris = append(uris, endpoint.jwksURI)
		}
	}
	slices.Sort(uris)
	return slices.Compact(uris)
}

// AddProblem adds a problem and makes the state worse if necessary. Callers use it for problems
// that they find themselves.
func (r *Report) AddProblem(state State, text string) {
	r.State = worseState(r.State, state)
	r.Problems = append(r.Problems, Problem{state, text})
}
