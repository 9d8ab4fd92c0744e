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

// ParseMapping reads a JSON object of "namespace/serviceaccount" to RoleARN,
// Audience, UseRegionalSTS and TokenExpiration. In the namespace, * stands for
// any characters. ParseMapping skips invalid entries and returns them beside the
// Mapping of the others. Of several valid entries for one key the last counts, and
// the others are returned as skipped. ParseMapping returns an error, and no
// Mapping, if content is not a JSON object.
func ParseMapping(content []byte, defaults Defaults) (*Mapping, EntryErrors, error) {
	// The check of the whole content comes first: the decoder below accepts what
	// precedes a syntax error.
	if err := json.Unmarshal(content, &json.RawMessage{}); err != nil {
		return nil, nil, invalidJSON(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if opening, err := decoder.Token(); err != nil || opening != json.Delim('{') {
		return nil, nil, errors.New("not a JSON object of entries")
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
		id, fault := parseEntry(key, entry, defaults)
		if fault == "" && valid[key] != nil {
			fault = "is repeated; the last valid entry is used"
		}
		if fault != "" {
			skipped = append(skipped, EntryError{Entry: strconv.Quote(shorten(key)), Message: fault})
		}
		if id != nil {
			valid[key] = id
		}
	}
	return newMapping(valid), skipped, nil
}

// invalidJSON returns the position of a syntax error. The decoder's own error can
// quote the content.
func invalidJSON(err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("invalid JSON after %d bytes", syntax.Offset)
	}
	return errors.New("invalid JSON")
}

// parseEntry returns the identity of an entry, or nil and what is wrong with it.
func parseEntry(key string, content json.RawMessage, defaults Defaults) (*Identity, string) {
	namespace, name, ok := strings.Cut(key, "/")
	if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return nil, "is not of the form namespace/serviceaccount"
	}
	if strings.Contains(name, "*") {
		return nil, "has a * in the ServiceAccount, where only the namespace may have one"
	}
	if fault := invalidName(namespace, name); fault != "" {
		return nil, fault
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
			Message: "cannot be the ARN of an IAM role", Fallback: "injected as it is",
		})
	}
	return id
}

// compareSpecificity puts the pattern with more literal characters first, then the one
// with fewer stars, so that the order of keys does not matter.
func compareSpecificity(a, b pattern) int {
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
