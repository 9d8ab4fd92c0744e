package identity

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// Mapping maps ServiceAccounts to identities, for ServiceAccounts without a role annotation. It
// is immutable. A nil Mapping has no entries.
type Mapping struct {
	exact map[types.NamespacedName]*Identity
	// patterns is indexed by the name of the ServiceAccount. The most specific pattern is
	// first.
	patterns map[string][]pattern
}

// pattern is an entry for all namespaces that match. * stands for any characters.
type pattern struct {
	namespace string
	identity  *Identity
}

// mappingEntry is an entry in the content. Field names are not case-sensitive, as in AWS's
// webhook.
type mappingEntry struct {
	RoleARN         string
	Audience        string
	UseRegionalSTS  bool
	TokenExpiration int64
}

// ParseMapping parses a JSON object. Its keys are "namespace/serviceaccount", and its values
// have the fields RoleARN, Audience, UseRegionalSTS and TokenExpiration. In the namespace, *
// stands for any characters. ParseMapping skips invalid entries. It returns a Mapping of the
// valid entries, and the errors of the others. If a key has several valid entries, the last one
// is used, and the key is also in the errors. ParseMapping returns an error, and no Mapping, if
// content is not a JSON object.
func ParseMapping(content []byte, defaults Defaults) (*Mapping, EntryErrors, error) {
	// Check all of the content first, because the decoder below would accept the entries
	// before a syntax error.
	if err := json.Unmarshal(content, &json.RawMessage{}); err != nil {
		return nil, nil, invalidJSON(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return nil, nil, errors.New("not a JSON object")
	}
	valid := map[string]*Identity{}
	var skipped EntryErrors
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, nil, invalidJSON(err)
		}
		key, _ := token.(string)
		var entry json.RawMessage
		if err := decoder.Decode(&entry); err != nil {
			return nil, nil, invalidJSON(err)
		}
		id, problem := parseEntry(key, entry, defaults)
		if problem == "" && valid[key] != nil {
			problem = "is repeated; the last valid entry is used"
		}
		if problem != "" {
			skipped = append(skipped, EntryError{Entry: strconv.Quote(shorten(key)), Message: problem})
		}
		if id != nil {
			valid[key] = id
		}
	}
	return newMapping(valid), skipped, nil
}

// invalidJSON returns an error with the position of a syntax error. It does not wrap the error of
// the decoder, which can quote the content.
func invalidJSON(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("invalid JSON after %d bytes", syntax.Offset)
	}
	return errors.New("invalid JSON")
}

// parseEntry returns the identity of an entry, or nil and a message if the entry is invalid.
func parseEntry(key string, content json.RawMessage, defaults Defaults) (*Identity, string) {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, "is not of the form namespace/serviceaccount"
	}
	if strings.Contains(name, "*") {
		return nil, "has a * in the ServiceAccount name: only the namespace can have one"
	}
	if problem := invalidName(namespace, name); problem != "" {
		return nil, problem
	}
	var entry *mappingEntry
	if err := json.Unmarshal(content, &entry); err != nil {
		return nil, "has fields of the wrong type"
	}
	if entry == nil {
		return nil, "is null"
	}
	return entry.identity(key, defaults), ""
}

// newMapping returns the Mapping of valid entries.
func newMapping(valid map[string]*Identity) *Mapping {
	m := &Mapping{exact: map[types.NamespacedName]*Identity{}, patterns: map[string][]pattern{}}
	for key, id := range valid {
		namespace, name, _ := strings.Cut(key, "/")
		if strings.Contains(namespace, "*") {
			m.patterns[name] = append(m.patterns[name], pattern{namespace: namespace, identity: id})
		} else {
			m.exact[types.NamespacedName{Namespace: namespace, Name: name}] = id
		}
	}
	for _, patterns := range m.patterns {
		slices.SortFunc(patterns, compareSpecificity)
	}
	return m
}

// identity returns the identity of the entry.
func (e *mappingEntry) identity(key string, defaults Defaults) *Identity {
	id := &Identity{
		Method:            WebIdentity,
		RoleARN:           defaults.Account.roleARNFor(e.RoleARN),
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
		id.Problems = append(id.Problems, AnnotationWarning{
			Annotation: "RoleARN of mapping " + key, Value: e.RoleARN,
			Message: "is not a valid ARN of an IAM role", Fallback: "injected unchanged",
		})
	}
	return id
}

// compareSpecificity orders patterns by specificity: first those with more literal characters,
// then those with fewer stars. The order of the keys in the content does not matter.
func compareSpecificity(a, b pattern) int {
	stars := func(p pattern) int { return strings.Count(p.namespace, "*") }
	return cmp.Or(
		cmp.Compare(len(b.namespace)-stars(b), len(a.namespace)-stars(a)),
		cmp.Compare(stars(a), stars(b)),
		cmp.Compare(a.namespace, b.namespace),
	)
}

// Identity returns the identity in the most specific entry for a ServiceAccount, or nil if there
// is no entry. An entry can be without a role: IsSet then returns false. An entry with the exact
// namespace is more specific than all patterns.
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

// Glob reports whether pattern matches s completely. * stands for any characters. Its running
// time is linear in the lengths of both.
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
