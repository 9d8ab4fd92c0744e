package certs

import (
	"crypto/x509"
	"maps"
	"time"
)

// trustTracker is since when all webhooks have trusted which CA, by its
// fingerprint.
type trustTracker map[string]time.Time

// observe takes what all webhooks trust now. A CA that was missing begins anew.
func (p trustTracker) observe(seen observed, now time.Time) {
	trusted := map[string]bool{}
	for _, b := range seen.bundles {
		for _, ca := range b.certificates() {
			trusted[fingerprint(ca.Raw)] = seen.trusts(ca)
		}
	}
	for ca, all := range trusted {
		if _, known := p[ca]; all && !known {
			p[ca] = now
		}
	}
	maps.DeleteFunc(p, func(ca string, _ time.Time) bool { return !trusted[ca] })
}

// trustedFor reports whether a CA has been trusted for a time.
func (p trustTracker) trustedFor(ca *x509.Certificate, now time.Time, duration time.Duration) bool {
	since, known := p[fingerprint(ca.Raw)]
	return known && now.Sub(since) >= duration
}
