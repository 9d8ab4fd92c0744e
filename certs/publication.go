package certs

import (
	"crypto/x509"
	"maps"
	"time"
)

// publication is since when all webhooks have trusted which CA, by its DER.
type publication map[string]time.Time

// see takes what all webhooks trust now. A CA that was missing begins anew.
func (p publication) see(trusted []*x509.Certificate, now time.Time) {
	seen := map[string]bool{}
	for _, ca := range trusted {
		seen[string(ca.Raw)] = true
		if _, known := p[string(ca.Raw)]; !known {
			p[string(ca.Raw)] = now
		}
	}
	maps.DeleteFunc(p, func(ca string, _ time.Time) bool { return !seen[ca] })
}

// lasts says whether a CA has been trusted for a time.
func (p publication) lasts(ca *x509.Certificate, now time.Time, duration time.Duration) bool {
	since, known := p[string(ca.Raw)]
	return known && now.Sub(since) >= duration
}
