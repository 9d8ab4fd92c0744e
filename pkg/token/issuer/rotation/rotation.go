// Package rotation says whether keys are published wherever tokens may be verified
// before they sign: at each address of the public issuer, since the edges of a content
// delivery network differ, and in view of what caches may still hold. It changes
// nothing.
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

// State is what is known.
type State string

// From good to bad.
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

// Key is one that signs tokens, or is to.
type Key struct {
	ID string
	// Public is nil where only the id is known.
	Public crypto.PublicKey
	// From says where the key was found: a file, or the cluster.
	From string
	// Signs says that the key signs already: it is late to wait for caches.
	Signs bool
}

// Resolver finds the addresses of a host; net.Resolver does.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Check looks at an issuer.
type Check struct {
	Issuer string
	Keys   []Key
	// Resolver finds addresses, of the Network ip, ip4 or ip6.
	Resolver Resolver
	Network  string
	// Roots are the CAs that are trusted; nil is the machine's.
	Roots *x509.CertPool
	Now   func() time.Time
}

// Report is what was found.
type Report struct {
	Issuer string `json:"issuer"`
	State  State  `json:"state"`
	// Problems are why it is not ok.
	Problems  []Problem   `json:"problems,omitempty"`
	Keys      []KeyReport `json:"keys"`
	Endpoints []Endpoint  `json:"endpoints"`
	// SafeFrom is when no cache holds an older key set any more; nil where nothing is
	// known of it, or all keys sign already.
	SafeFrom *time.Time `json:"safeFrom,omitempty"`
	// Notes are what is to be known beyond the state.
	Notes []string `json:"notes,omitempty"`
}

// Problem is one thing that is amiss.
type Problem struct {
	State State `json:"state"`
	// Text is for people.
	Text string `json:"text"`
}

// KeyReport is what was found of a key.
type KeyReport struct {
	ID    string `json:"id"`
	From  string `json:"source"`
	Signs bool   `json:"signs"`
	// Published at so many of the addresses of the key set that gave one.
	Published int   `json:"published"`
	Of        int   `json:"total"`
	State     State `json:"state"`
}

// Run looks at the discovery document and the key set at each of their addresses.
func (c Check) Run(ctx context.Context) Report {
	report := Report{Issuer: c.Issuer, State: OK}
	discoveries := c.probeAddresses(ctx, issuer.StepDiscovery, issuer.DiscoveryURL(c.Issuer), c.readDiscovery)
	report.Endpoints = discoveries
	for _, uri := range jwksURIs(discoveries) {
		report.Endpoints = append(report.Endpoints, c.probeAddresses(ctx, issuer.StepKeySet, uri, c.readKeySet)...)
	}
	if uris := jwksURIs(discoveries); len(uris) > 1 {
		report.AddProblem(Broken, "the addresses do not agree where the keys are: "+listed(uris))
	}
	c.evaluate(&report)
	return report
}

// jwksURIs are those that discovery documents name.
func jwksURIs(edges []Endpoint) []string {
	var uris []string
	for _, edge := range edges {
		if edge.jwksURI != "" {
			uris = append(uris, edge.jwksURI)
		}
	}
	slices.Sort(uris)
	return slices.Compact(uris)
}

// AddProblem adds what is amiss, be it from elsewhere.
func (r *Report) AddProblem(state State, text string) {
	r.State = worseState(r.State, state)
	r.Problems = append(r.Problems, Problem{state, text})
}
