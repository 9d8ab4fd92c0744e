package certs

import (
	"crypto/x509"
	"maps"
	"time"
)

// trustTracker has the CAs that all webhooks trust, by fingerprint, with the time
// since when they have been trusted.
type trustTracker map[string]time.Time

// observe records the CAs that all webhooks trust now. If a CA is missing from one of
// them, its time starts again when it is back.
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

// trustedFor reports whether a CA has been trusted for at least duration.
func (p trustTracker) trustedFor(ca *x509.Certificate, now time.Time, duration time.Duration) bool {
	since, known := p[fingerprint(ca.Raw)]
	return known && now.Sub(since) >= duration
}
