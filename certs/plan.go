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

// maxRetired is the maximum number of retired CAs of this webhook in the caBundles.
// Usually there is at most one. More appear if something keeps emptying the Secret.
const maxRetired = 10

// takeoverMargin is the time before its expiry at which a CA stops signing if there
// is another. API servers may not trust the other yet, but none of them trusts an
// expired CA.
const takeoverMargin = 5 * time.Minute

// planner computes the desired content of the Secret. It does not access the cluster:
// callers pass the state of the cluster as arguments.
type planner struct {
	names        []string
	ca, serving  time.Duration
	publishAfter time.Duration
}

// newPlanner returns a planner for a Service, with the lifetimes of its CA and of its
// serving certificates.
func newPlanner(service types.NamespacedName, ca, serving time.Duration) planner {
	short := service.Name + "." + service.Namespace
	return planner{
		// API servers use the third name.
		names: []string{service.Name, short, short + ".svc", short + ".svc.cluster.local"},
		ca:    ca, serving: serving,
		// API servers usually see a new caBundle within a second. The hour is for
		// an API server whose watch hangs. Short lifetimes shorten it.
		publishAfter: min(time.Hour, serving/10),
	}
}

// observed is the state of the webhook configurations.
type observed struct {
	// bundles are the caBundles of all webhooks that call the Service.
	bundles []bundle
	// incomplete reports whether a configuration could not be read, so that bundles
	// may lack some.
	incomplete bool
}

// trusts reports whether API servers trust ca for every webhook. It returns false if
// there are no webhooks, because then API servers do not call the Service.
func (o observed) trusts(ca *x509.Certificate) bool {
	return len(o.bundles) > 0 && !slices.ContainsFunc(o.bundles, func(b bundle) bool { return !contains(b.certificates(), ca) })
}

// has reports whether a caBundle has the entry with the fingerprint.
func (o observed) has(fingerprint string) bool {
	return slices.ContainsFunc(o.bundles, func(b bundle) bool {
		return slices.ContainsFunc(b.entries, func(e entry) bool { return e.fingerprint == fingerprint })
	})
}

// plan returns the desired content of the Secret at the time now, given its current
// content c and the state of the webhook configurations. changed reports whether plan
// created a CA. published reports whether every API server has had time to trust a
// CA. plan returns an error if it cannot create a CA.
//
// The choice of the CA that signs, and the time of its replacement, depend only on the
// CAs and not on flags. So replicas with different flags do not undo each other's
// changes.
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
		// No replica creates a second CA before it is needed.
		signers = signers[:1]
	case published(signers[1].certificate), expiresSoon(signers[0].certificate, now):
		former = append(former, signers[0].certificate)
		retired[fingerprint(signers[0].certificate.Raw)] = now.UTC()
		signers = signers[1:maxSigners]
	default:
		signers = signers[:maxSigners]
	}
	next = secretContent{signers: signers, retired: retired}
	p.limitRetired(next, former, now, seen)
	for _, ca := range former {
		since, known := retired[fingerprint(ca.Raw)]
		if known && !p.over(since, now) && valid(ca, now) || !known && seen.incomplete {
			next.former = append(next.former, ca)
		}
	}
	return next, changed, nil
}

// retire returns the caBundle entries that belong to none of the signers, each with
// the time since when it has been retired. It leaves out entries that are in no
// caBundle anymore.
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
			// A time far in the future would keep the entry forever. The clocks
			// of API servers may differ a little.
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

// limitRetired marks the oldest retired CAs of this webhook for removal if there are
// more than maxRetired. It does not limit CAs of other clients, because the webhook
// never adds any.
func (p planner) limitRetired(c secretContent, former []*x509.Certificate, now time.Time, seen observed) {
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

// over reports whether an entry that has been retired since a time may be removed.
func (p planner) over(since, now time.Time) bool { return now.Sub(since) >= p.serving }

// removes returns a function that reports whether to remove the entry with a
// fingerprint from the caBundles.
func (p planner) removes(c secretContent, now time.Time) func(fingerprint string) bool {
	return func(fingerprint string) bool {
		since, retired := c.retired[fingerprint]
		return retired && p.over(since, now)
	}
}

// isDue reports whether to replace a CA, that is, whether two thirds of its lifetime
// have passed.
func isDue(ca *x509.Certificate, now time.Time) bool {
	made := ca.NotBefore.Add(backdate)
	return !now.Before(ca.NotAfter.Add(-ca.NotAfter.Sub(made) / 3))
}

// expiresSoon reports whether a CA expires within takeoverMargin, or is in the last
// twentieth of its lifetime if that is shorter. Each replica reconciles once a minute,
// so one that waited for the expiry would serve an expired certificate for up to a
// minute.
func expiresSoon(ca *x509.Certificate, now time.Time) bool {
	made := ca.NotBefore.Add(backdate)
	return !now.Before(ca.NotAfter.Add(-min(takeoverMargin, ca.NotAfter.Sub(made)/20)))
}

// checkOrigin returns an error if c has a CA that no replica can have stored.
func (c secretContent) checkOrigin(now time.Time, seen observed) error {
	if len(c.signers) > 1 && !isDue(c.signers[0].certificate, now) || len(c.signers) > maxSigners {
		return fmt.Errorf("%s: unexpected key of a CA that is not needed yet", signersKey)
	}
	for _, ca := range c.former {
		if _, retired := c.retired[fingerprint(ca.Raw)]; !retired && !seen.incomplete && !seen.has(fingerprint(ca.Raw)) {
			return fmt.Errorf("%s: CA %q has no key and was never published", caCertKey, ca.Subject)
		}
	}
	return nil
}
