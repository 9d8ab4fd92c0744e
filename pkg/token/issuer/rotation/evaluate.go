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

// compare says which keys an edge's key set lacks.
func (c Check) compare(edge Endpoint) Endpoint {
	var problems []string
	for _, key := range c.Keys {
		if problem := keyMismatch(*edge.keys, key); problem != "" {
			edge.Missing = append(edge.Missing, key.ID)
			problems = append(problems, problem)
		}
	}
	if len(problems) == 0 {
		return edge
	}
	if left := edge.Cache.remainingTTL(); left > 0 {
		problems = append(problems, fmt.Sprintf("it is from a cache, which may give it for %s yet: purge that, or ask again then", left))
	}
	return edge.withProblem(Broken, strings.Join(problems, "; "))
}

// keyMismatch says how a key is missing from a key set; empty if it is not.
func keyMismatch(set jose.JSONWebKeySet, key Key) string {
	named := set.Key(key.ID)
	switch {
	case len(named) > 0 && (key.Public == nil || slices.ContainsFunc(named, func(k jose.JSONWebKey) bool { return same(k.Key, key.Public) })):
		return ""
	case len(named) > 0:
		return fmt.Sprintf("it has another key under the id %s", key.ID)
	}
	for _, other := range set.Keys {
		if key.Public != nil && same(other.Key, key.Public) {
			return fmt.Sprintf("it has the key %s under the id %q", key.ID, other.KeyID)
		}
	}
	return fmt.Sprintf("it lacks the key %s", key.ID)
}

func same(a any, b crypto.PublicKey) bool {
	key, ok := b.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(a)
}

// evaluate sums up the edges.
func (c Check) evaluate(report *Report) {
	for _, edge := range report.Endpoints {
		if edge.State != OK {
			report.AddProblem(edge.State, edge.describe()+": "+edge.Problem)
		}
	}
	for _, key := range c.Keys {
		report.Keys = append(report.Keys, keyReport(key, report.Endpoints))
	}
	if len(c.Keys) == 0 {
		report.AddProblem(Unknown, "no key is known that could sign")
	}
	c.evaluateCaches(report)
}

func (e Endpoint) describe() string {
	if e.Address == "" {
		return fmt.Sprintf("%s at %s", e.Document, e.URL)
	}
	return fmt.Sprintf("%s at %s, address %s", e.Document, e.URL, e.Address)
}

func keyReport(key Key, edges []Endpoint) KeyReport {
	report := KeyReport{ID: key.ID, From: key.From, Signs: key.Signs, State: OK}
	seen := false
	for _, edge := range edges {
		if edge.Document != issuer.StepKeySet {
			continue
		}
		seen = true
		if edge.keys == nil {
			report.State = worseState(report.State, edge.State)
			continue
		}
		report.Of++
		if slices.Contains(edge.Missing, key.ID) {
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

// evaluateCaches looks at who may have read the key set before the keys were in it, which
// matters for keys that do not sign yet.
func (c Check) evaluateCaches(report *Report) {
	if report.State == Broken || !slices.ContainsFunc(c.Keys, func(k Key) bool { return !k.Signs }) {
		return
	}
	var silent bool
	var longest int
	for _, edge := range report.Endpoints {
		if edge.keys == nil {
			continue
		}
		if edge.Cache != nil && edge.Cache.MaxAge != nil {
			longest = max(longest, *edge.Cache.MaxAge)
		}
		gone := edge.Cache.staleUntil()
		if gone == nil {
			silent = silent || edge.Cache == nil || edge.Cache.MaxAge == nil || *edge.Cache.MaxAge > 0
			continue
		}
		if report.SafeFrom == nil || gone.After(*report.SafeFrom) {
			report.SafeFrom = gone
		}
	}
	if report.SafeFrom != nil && report.SafeFrom.After(c.Now()) {
		report.AddProblem(Unknown, fmt.Sprintf("the key set was changed so short a time ago that caches may hold an older one until %s: let the new key sign from then on",
			report.SafeFrom.UTC().Format(time.RFC3339)))
		return
	}
	if silent {
		report.Notes = append(report.Notes, fmt.Sprintf("The issuer does not say when the key set was changed. Caches may hold an older one %s: if a key was published just now, let it sign after that.", describeDuration(longest)))
	}
}

func describeDuration(seconds int) string {
	if seconds == 0 {
		return "for a time that it does not say either"
	}
	return fmt.Sprintf("for %s", time.Duration(seconds)*time.Second)
}

func listed(values []string) string { return strings.Join(values, ", ") }
