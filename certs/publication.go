package certs

import (
	"crypto/x509"
	"maps"
	"time"
)

// publication is what is known of the caBundles.
type publication struct {
	// since is when each CA was first seen in all of them, by its DER.
	since map[string]time.Time
	// bundles is what each configuration was last known to have, by its name.
	bundles map[string][]byte
}

func newPublication() publication {
	return publication{since: map[string]time.Time{}, bundles: map[string][]byte{}}
}

// see takes what all webhooks trust now. A CA that was missing begins anew.
func (p publication) see(trusted []*x509.Certificate, now time.Time) {
	seen := map[string]bool{}
	for _, ca := range trusted {
		seen[string(ca.Raw)] = true
		if _, known := p.since[string(ca.Raw)]; !known {
			p.since[string(ca.Raw)] = now
		}
	}
	maps.DeleteFunc(p.since, func(ca string, _ time.Time) bool { return !seen[ca] })
}

// lasts says whether a CA has been trusted for a time.
func (p publication) lasts(ca *x509.Certificate, now time.Time, duration time.Duration) bool {
	since, known := p.since[string(ca.Raw)]
	return known && now.Sub(since) >= duration
}
