package identity

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Mapping says which identities ServiceAccounts have that do not say so
// themselves. It is never changed once made; nil says nothing of any.
type Mapping struct {
	exact map[types.NamespacedName]*Identity
	// patterns are by the name of the ServiceAccount, the most specific first.
	patterns map[string][]pattern
}

// pattern is an entry for namespaces that match, * standing for any characters.
type pattern struct {
	namespace string
	identity  *Identity
}

// mappingEntry is an entry as it is written. Names match in any letter case, as
// they do in the reference.
type mappingEntry struct {
	RoleARN         string
	Audience        string
	UseRegionalSTS  bool
	TokenExpiration int64
}

// MappingError says that an entry cannot be used.
type MappingError struct {
	// Key is the entry's.
	Key string
	// Fault says what is wrong.
	Fault string
}

// Error names the key.
func (e *MappingError) Error() string { return fmt.Sprintf("key %q %s", e.Key, e.Fault) }

// ParseMapping reads a JSON object of "namespace/serviceaccount" to RoleARN,
// Audience, UseRegionalSTS and TokenExpiration. In the namespace, * stands for
// any characters. The Mapping is of the entries that can be used; the error joins
// a *MappingError for each that cannot, and for each key that is repeated, of
// which the last entry counts.
func ParseMapping(content []byte, defaults Defaults) (*Mapping, error) {
	m := &Mapping{exact: map[types.NamespacedName]*Identity{}, patterns: map[string][]pattern{}}
	var entries map[string]json.RawMessage
	if err := json.Unmarshal(content, &entries); err != nil || entries == nil {
		return m, notAnObject(err)
	}
	var faults []error
	for _, key := range repeated(content) {
		faults = append(faults, &MappingError{Key: key, Fault: "is repeated"})
	}
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		if err := m.add(key, entries[key], defaults); err != nil {
			faults = append(faults, err)
		}
	}
	for _, patterns := range m.patterns {
		slices.SortFunc(patterns, bySpecificity)
	}
	return m, errors.Join(faults...)
}

// repeated returns those keys of a JSON object that are there more than once. It
// compares what is decoded: a key may be escaped in several ways.
func repeated(object []byte) []string {
	decoder := json.NewDecoder(bytes.NewReader(object))
	if _, err := decoder.Token(); err != nil { // the opening brace
		return nil
	}
	times := map[string]int{}
	var keys []string
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return keys
		}
		if err := decoder.Decode(&json.RawMessage{}); err != nil {
			return keys
		}
		name, _ := key.(string)
		if times[name]++; times[name] == 2 {
			keys = append(keys, name)
		}
	}
	return keys
}

// notAnObject says where, and not what: the decoder's error can quote what it
// reads.
func notAnObject(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("it is no JSON: a fault after %d bytes", syntax.Offset)
	}
	return errors.New("it is no JSON object of entries")
}

func (m *Mapping) add(key string, content json.RawMessage, defaults Defaults) error {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return &MappingError{Key: key, Fault: "is not of the form namespace/serviceaccount"}
	}
	if strings.Contains(name, "*") {
		return &MappingError{Key: key, Fault: "has a * in the ServiceAccount, where only the namespace may have one"}
	}
	var entry *mappingEntry
	if err := json.Unmarshal(content, &entry); err != nil {
		return &MappingError{Key: key, Fault: "has an entry whose fields are of the wrong type"}
	}
	if entry == nil {
		return &MappingError{Key: key, Fault: "has no entry, but null"}
	}
	id := entry.identity(key, defaults)
	if strings.Contains(namespace, "*") {
		m.patterns[name] = append(m.patterns[name], pattern{namespace: namespace, identity: id})
	} else {
		m.exact[types.NamespacedName{Namespace: namespace, Name: name}] = id
	}
	return nil
}

func (e *mappingEntry) identity(key string, defaults Defaults) *Identity {
	id := &Identity{
		Method:            WebIdentity,
		RoleARN:           defaults.Account.compose(e.RoleARN),
		Audience:          cmp.Or(e.Audience, defaults.Audience),
		RegionalSTS:       e.UseRegionalSTS,
		ExpirationSeconds: defaults.ExpirationSeconds,
		SessionName:       defaults.SessionName,
		STSEndpoint:       defaults.STSEndpoint,
	}
	if e.TokenExpiration != 0 {
		requested := strconv.FormatInt(e.TokenExpiration, 10)
		seconds, problem := ParseExpiration("TokenExpiration of mapping "+key, requested, defaults.ExpirationSeconds)
		id.ExpirationSeconds = seconds
		if problem != nil {
			id.Problems = append(id.Problems, *problem)
		}
	}
	if id.RoleARN != "" && !IsRole(id.RoleARN, id.STSEndpoint) {
		id.Problems = append(id.Problems, Problem{
			Annotation: "RoleARN of mapping " + key, Value: e.RoleARN,
			Fault: "cannot be the ARN of an IAM role", Used: "injected as it is",
		})
	}
	return id
}

// bySpecificity puts the pattern with more literal characters first, then the one
// with fewer stars, so that the order of keys does not matter.
func bySpecificity(a, b pattern) int {
	stars := func(p pattern) int { return strings.Count(p.namespace, "*") }
	return cmp.Or(
		cmp.Compare(len(b.namespace)-stars(b), len(a.namespace)-stars(a)),
		cmp.Compare(stars(a), stars(b)),
		cmp.Compare(a.namespace, b.namespace),
	)
}

// Identity returns that of the most specific entry for a ServiceAccount, which
// may be one that is not Granted, or nil if there is no entry. An entry of the
// namespace itself is more specific than any that matches it.
func (m *Mapping) Identity(name types.NamespacedName) *Identity {
	if m == nil {
		return nil
	}
	if id := m.exact[name]; id != nil {
		return id
	}
	for _, p := range m.patterns[name.Name] {
		if Glob(p.namespace, name.Namespace) {
			return p.identity
		}
	}
	return nil
}

// Len returns the number of entries.
func (m *Mapping) Len() int {
	if m == nil {
		return 0
	}
	n := len(m.exact)
	for _, patterns := range m.patterns {
		n += len(patterns)
	}
	return n
}

// Glob says whether a pattern matches the whole of s, * standing for any
// characters. It takes time in proportion to the lengths of both.
func Glob(pattern, s string) bool {
	first, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, first)
	if !ok {
		return false
	}
	pieces := strings.Split(rest, "*")
	for _, piece := range pieces[:len(pieces)-1] {
		_, after, found := strings.Cut(s, piece)
		if !found {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, pieces[len(pieces)-1])
}
