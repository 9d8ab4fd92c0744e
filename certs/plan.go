package certs

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// maxRetired bounds how many retired CAs of our own are trusted at once. Usually
// there is at most one. More come of a Secret that something keeps emptying.
const maxRetired = 10

// endOfCA is how long before its expiry a CA no longer signs if there is another,
// whether or not API servers are known to trust that: none trusts an expired one.
const endOfCA = 5 * time.Minute

// planner decides what the Secret should hold. It knows no cluster: what is
// known of one are its arguments.
type planner struct {
	names        []string
	ca, serving  time.Duration
	publishAfter time.Duration
}

// newPlanner returns a planner for a Service and the lifetimes of its CA and of
// its serving certificates.
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

// observed is what the webhook configurations say.
type observed struct {
	// bundles are the caBundles of all webhooks that call the Service.
	bundles []bundle
	// incomplete reports that there may be more: a configuration was not read.
	incomplete bool
}

// trusts reports whether API servers trust ca, by whichever webhook they call.
// They do not call if there is none.
func (o observed) trusts(ca *x509.Certificate) bool {
	return len(o.bundles) > 0 && !slices.ContainsFunc(o.bundles, func(b bundle) bool { return !contains(b.certificates(), ca) })
}

// has reports whether a caBundle has the entry.
func (o observed) has(fingerprint string) bool {
	return slices.ContainsFunc(o.bundles, func(b bundle) bool {
		return slices.ContainsFunc(b.entries, func(e entry) bool { return e.fingerprint == fingerprint })
	})
}

// plan returns what the Secret should hold at the time now, given what it holds
// and what the webhook configurations say. changed reports whether there is a new
// CA. published reports whether every API server has had the time to trust a CA.
//
// Which CA signs and when it is replaced follows from the CAs alone, and not from
// flags: replicas with different flags do not undo what the others do.
func (p planner) plan(c secretContent, now time.Time, seen observed, published func(*x509.Certificate) bool) (next secretContent, changed bool, err error) {
	signers := slices.DeleteFunc(slices.Clone(c.signers), func(signer authority) bool { return !valid(signer.certificate, now) })
	former := slices.Clone(c.former)
	retired := p.retire(c, signers, now, seen)
	switch {
	case len(signers) == 0 || len(signers) == 1 && isDue(signers[0].certificate, now):
		ca, err := newAuthority(now, p.ca)
		if err != nil {
			return secretContent{}, false, err
		}
		signers, changed = append(signers, ca), true
	case len(signers) == 1:
	case !isDue(signers[0].certificate, now):
		// No replica makes a second one before it is needed.
		signers = signers[:1]
	case published(signers[1].certificate), isEnding(signers[0].certificate, now):
		former = append(former, signers[0].certificate)
		retired[fingerprint(signers[0].certificate.Raw)] = now.UTC()
		signers = signers[1:maxSigners]
	default:
		signers = signers[:maxSigners]
	}
	next = secretContent{signers: signers, retired: retired}
	p.bound(next, former, now, seen)
	for _, ca := range former {
		since, known := retired[fingerprint(ca.Raw)]
		if known && !p.over(since, now) && valid(ca, now) || !known && seen.incomplete {
			next.former = append(next.former, ca)
		}
	}
	return next, changed, nil
}

// retire returns since when the caBundles have had which entries that are of none
// of the signers. It forgets what no caBundle has any more.
func (p planner) retire(c secretContent, signers []authority, now time.Time, seen observed) map[string]time.Time {
	retired := map[string]time.Time{}
	for entry, since := range c.retired {
		isFormer := slices.ContainsFunc(c.former, func(ca *x509.Certificate) bool { return fingerprint(ca.Raw) == entry })
		if isFormer && !p.over(since, now) || seen.incomplete || seen.has(entry) {
			retired[entry] = since
		}
	}
	for _, b := range seen.bundles {
		for _, e := range b.entries {
			// A time in the future would keep the entry for ever. Clocks of API
			// servers may differ a little.
			if since, known := retired[e.fingerprint]; !known || since.After(now.Add(backdate)) {
				retired[e.fingerprint] = now.UTC()
			}
		}
	}
	for _, signer := range signers {
		delete(retired, fingerprint(signer.certificate.Raw))
	}
	return retired
}

// bound ends the time of the oldest retired CAs of our own if there are too many.
// Those of others are never too many: nothing here adds any.
func (p planner) bound(c secretContent, former []*x509.Certificate, now time.Time, seen observed) {
	own := map[string]*x509.Certificate{}
	for _, b := range seen.bundles {
		former = append(former, b.certificates()...)
	}
	for _, ca := range former {
		since, known := c.retired[fingerprint(ca.Raw)]
		if known && !p.over(since, now) && strings.HasPrefix(ca.Subject.CommonName, authorityName) {
			own[fingerprint(ca.Raw)] = ca
		}
	}
	newestFirst := slices.SortedFunc(maps.Keys(own), func(a, b string) int {
		return cmp.Or(own[b].NotBefore.Compare(own[a].NotBefore), cmp.Compare(a, b))
	})
	for _, entry := range newestFirst[min(maxRetired, len(newestFirst)):] {
		c.retired[entry] = now.Add(-p.serving).UTC()
	}
}

// over reports whether an entry that was retired at a time may be removed.
func (p planner) over(since, now time.Time) bool { return now.Sub(since) >= p.serving }

// removes returns which entries belong into no caBundle any more.
func (p planner) removes(c secretContent, now time.Time) func(fingerprint string) bool {
	return func(fingerprint string) bool {
		since, retired := c.retired[fingerprint]
		return retired && p.over(since, now)
	}
}

// isDue reports whether a CA is to be replaced: two thirds of its life are over.
func isDue(ca *x509.Certificate, now time.Time) bool {
	made := ca.NotBefore.Add(backdate)
	return !now.Before(ca.NotAfter.Add(-ca.NotAfter.Sub(made) / 3))
}

// isEnding reports whether a CA expires within minutes. Each replica looks once a
// minute, so one that waited for the expiry would serve an expired certificate until
// then. Of a CA with a short life it is the last twentieth.
func isEnding(ca *x509.Certificate, now time.Time) bool {
	made := ca.NotBefore.Add(backdate)
	return !now.Before(ca.NotAfter.Add(-min(endOfCA, ca.NotAfter.Sub(made)/20)))
}

// foreign returns an error if c has a CA that no replica can have put there.
func (c secretContent) foreign(now time.Time, seen observed) error {
	if len(c.signers) > 1 && !isDue(c.signers[0].certificate, now) || len(c.signers) > maxSigners {
		return fmt.Errorf("%s: a key of a CA that is not needed yet", signersKey)
	}
	for _, ca := range c.former {
		if _, retired := c.retired[fingerprint(ca.Raw)]; !retired && !seen.incomplete && !seen.has(fingerprint(ca.Raw)) {
			return fmt.Errorf("%s: CA %q has no key and was never published", caCertKey, ca.Subject)
		}
	}
	return nil
}
