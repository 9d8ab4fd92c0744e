package certs

import (
	"crypto/x509"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// maxAuthorities bounds how many CAs are trusted at once. In order there are
// two; more come of a Secret that something keeps spoiling.
const maxAuthorities = 10

// change is something that a plan has made anew.
type change string

const (
	newAuthority   change = "ca"
	newCertificate change = "serving"
)

// planner decides what the Secret should hold. It knows no cluster: what is
// known of one are its arguments.
type planner struct {
	names        []string
	ca, serving  time.Duration
	publishAfter time.Duration
}

// newPlanner returns a planner for a Service and the lifetimes of its CA and of
// its serving certificate.
func newPlanner(service types.NamespacedName, ca, serving time.Duration) planner {
	short := service.Name + "." + service.Namespace
	return planner{
		// API servers ask for the third.
		names: []string{service.Name, short, short + ".svc", short + ".svc.cluster.local"},
		ca:    ca, serving: serving,
		// API servers see a new caBundle within a second. An hour is for one
		// whose watch hangs, and is cut to fit into short lives.
		publishAfter: min(time.Hour, serving/10),
	}
}

// plan returns what the Secret should hold at the time now, given what it
// holds, and what of that is new. published says whether every API server has
// had the time to trust a CA. A CA that is not published takes over only if there
// is no serving certificate, or it has run out.
func (p planner) plan(c content, now time.Time, published func(*x509.Certificate) bool) (content, []change, error) {
	var changes []change
	c.authorities = slices.Clone(c.authorities)
	if c.serving != nil && !valid(c.serving.Leaf, now) {
		c.serving = nil
	}
	sign := func() error {
		serving, err := newServing(now, p.serving, p.names, c.authorities[0], c.signer)
		if err != nil {
			return err
		}
		c.serving, changes = serving, append(changes, newCertificate)
		return nil
	}

	if p.needsAuthority(c, now) {
		if p.canSign(c, now) && (c.issuer() == c.authorities[0] || published(c.authorities[0])) {
			// The last work of the old CA: a certificate that lasts until the
			// new CA is published.
			if err := sign(); err != nil {
				return content{}, nil, err
			}
		}
		ca, key, err := newCA(now, p.ca)
		if err != nil {
			return content{}, nil, err
		}
		c.authorities = slices.Insert(c.authorities, 0, ca)
		c.signer = key
		changes = append(changes, newAuthority)
	}

	newest := c.authorities[0]
	// Who trusts the one in use trusts another of the same CA.
	if c.serving == nil || p.needsServing(c, now) && (c.issuer() == newest || published(newest)) {
		if err := sign(); err != nil {
			return content{}, nil, err
		}
	}
	c.authorities = p.trusted(c, now)
	return c, changes, nil
}

func (p planner) canSign(c content, now time.Time) bool {
	return c.signer != nil && len(c.authorities) > 0 && valid(c.authorities[0], now)
}

func (p planner) needsAuthority(c content, now time.Time) bool {
	return !p.canSign(c, now) || !now.Before(due(c.authorities[0], p.ca))
}

func (p planner) needsServing(c content, now time.Time) bool {
	return !now.Before(due(c.serving.Leaf, p.serving)) || c.serving.Leaf.CheckSignatureFrom(c.authorities[0]) != nil
}

// due is when a certificate is to be replaced: at two thirds of its life.
func due(certificate *x509.Certificate, lifetime time.Duration) time.Time {
	return certificate.NotAfter.Add(-lifetime / 3)
}

// trusted returns the CAs of c that are still needed: the newest, that of the
// serving certificate, and former ones for as long as a replica that has lost
// touch may serve what they have signed.
func (p planner) trusted(c content, now time.Time) []*x509.Certificate {
	inUse := c.issuer()
	replaced := c.authorities[0].NotBefore.Add(backdate)
	kept := c.authorities[:1]
	for _, former := range c.authorities[1:] {
		lingers := now.Before(replaced.Add(p.serving)) && now.Before(former.NotAfter) && len(kept) < maxAuthorities
		if former == inUse || lingers {
			kept = append(kept, former)
		}
	}
	return kept
}
