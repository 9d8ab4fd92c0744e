package rotation

import (
	"crypto"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// compare adds the keys that are missing from the endpoint's key set to the endpoint.
func (c Check) compare(endpoint Endpoint) Endpoint {
	var problems []string
	for _, key := range c.Keys {
		if problem := keyMismatch(*endpoint.keys, key); problem != "" {
			endpoint.Missing = append(endpoint.Missing, key.ID)
			problems = append(problems, problem)
		}
	}
	if len(problems) == 0 {
		return endpoint
	}
	if left := endpoint.Cache.remainingTTL(); left > 0 {
		problems = append(problems, fmt.Sprintf("the response is from a cache that can return it for another %s; purge the cache, or check again after that time", left))
	}
	return endpoint.withProblem(Broken, strings.Join(problems, "; "))
}

// keyMismatch returns a problem if a key is missing from a key set or has another ID there, and
// "" otherwise.
func keyMismatch(set jose.JSONWebKeySet, key Key) string {
	named := set.Key(key.ID)
	switch {
	case len(named) > 0 && (key.Public == nil || slices.ContainsFunc(named, func(k jose.JSONWebKey) bool { return same(k.Key, key.Public) })):
		return ""
	case len(named) > 0:
		return fmt.Sprintf("key ID %s belongs to another key", key.ID)
	}
	for _, other := range set.Keys {
		if key.Public != nil && same(other.Key, key.Public) {
			return fmt.Sprintf("key %s has the ID %q", key.ID, other.KeyID)
		}
	}
	return fmt.Sprintf("key %s is missing", key.ID)
}

// same reports whether two public keys are equal.
func same(a any, b crypto.PublicKey) bool {
	key, ok := b.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(a)
}

// evaluate adds the problems of the endpoints, the keys and the caches to the report.
func (c Check) evaluate(report *Report) {
	for _, endpoint := range report.Endpoints {
		if endpoint.State != OK {
			report.AddProblem(endpoint.State, endpoint.describe()+": "+endpoint.Problem)
		}
	}
	for _, key := range c.Keys {
		report.Keys = append(report.Keys, keyReport(key, report.Endpoints))
	}
	if len(c.Keys) == 0 {
		report.AddProblem(Unknown, "no signing key is known")
	}
	c.evaluateCaches(report)
}

// describe returns the document, URL and address of the endpoint for a message.
func (e Endpoint) describe() string {
	if e.Address == "" {
		return fmt.Sprintf("%s at %s", e.Document, e.URL)
	}
	return fmt.Sprintf("%s at %s, address %s", e.Document, e.URL, e.Address)
}

// keyReport counts the endpoints of the key set that have the key.
func keyReport(key Key, endpoints []Endpoint) KeyReport {
	report := KeyReport{ID: key.ID, From: key.From, Signs: key.Signs, State: OK}
	seen := false
	for _, endpoint := range endpoints {
		if endpoint.Document != issuer.StepKeySet {
			continue
		}
		seen = true
		if endpoint.keys == nil {
			report.State = worseState(report.State, endpoint.State)
			continue
		}
		report.Of++
		if slices.Contains(endpoint.Missing, key.ID) {
			report.State = Broken
		} else {
			report.Published++
		}
	}
	if !seen {
		report.State = worseState(report.State, Unknown)
	}
	return report
}

// evaluateCaches reports until when caches can hold a key set without the new keys. It checks
// this only if there are keys that do not sign yet.
func (c Check) evaluateCaches(report *Report) {
	if report.State == Broken || !slices.ContainsFunc(c.Keys, func(k Key) bool { return !k.Signs }) {
		return
	}
	var silent bool
	var longest int
	for _, endpoint := range report.Endpoints {
		if endpoint.keys == nil {
			continue
		}
		if endpoint.Cache != nil && endpoint.Cache.MaxAge != nil {
			longest = max(longest, *endpoint.Cache.MaxAge)
		}
		staleUntil := endpoint.Cache.staleUntil()
		if staleUntil == nil {
			silent = silent || endpoint.Cache == nil || endpoint.Cache.MaxAge == nil || *endpoint.Cache.MaxAge > 0
			continue
		}
		if report.SafeFrom == nil || staleUntil.After(*report.SafeFrom) {
			report.SafeFrom = staleUntil
		}
	}
	if report.SafeFrom != nil && report.SafeFrom.After(c.Now()) {
		report.AddProblem(Unknown, fmt.Sprintf("the key set changed recently, and caches can hold an older one until %s; do not sign with the new key before that time",
			report.SafeFrom.UTC().Format(time.RFC3339)))
		return
	}
	if silent {
		report.Notes = append(report.Notes, fmt.Sprintf("The issuer does not report when the key set changed. Caches can hold an older one %s. If you have just published a key, sign with it only after that time.", describeDuration(longest)))
	}
}

// describeDuration returns a number of seconds for a message. 0 means unknown.
func describeDuration(seconds int) string {
	if seconds == 0 {
		return "for an unknown time"
	}
	return fmt.Sprintf("for %s", time.Duration(seconds)*time.Second)
}

func listed(values []string) string { return strings.Join(values, ", ") }
