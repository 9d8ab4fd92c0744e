package identity_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

func named(name string) types.NamespacedName {
	namespace, account, _ := strings.Cut(name, "/")
	return types.NamespacedName{Namespace: namespace, Name: account}
}

// parse returns the mapping in content, which must be valid.
func parse(t *testing.T, content string, defaults identity.Defaults) *identity.Mapping {
	t.Helper()
	mapping, skipped, err := identity.ParseMapping([]byte(content), defaults)
	if err != nil || len(skipped) > 0 {
		t.Fatalf("got skipped entries %v and error %v, want none", skipped, err)
	}
	return mapping
}

func TestMapping_precedence(t *testing.T) {
	mapping := parse(t, `{
		"*/app": {"RoleARN": "any"},
		"prod/app": {"RoleARN": "exact"},
		"pro*/app": {"RoleARN": "pro"},
		"test-*/app": {"RoleARN": "test"},
		"test-*-eu/app": {"RoleARN": "test-eu"},
		"te*-*/app": {"RoleARN": "te"},
		"*-blue/other": {"RoleARN": "blue"},
		"a*b/other": {"RoleARN": "a-b"},
		"x*y*/stars": {"RoleARN": "two stars"},
		"xy*/stars": {"RoleARN": "one star"},
		"*n/tie": {"RoleARN": "earlier"},
		"n*/tie": {"RoleARN": "later"},
		"*/shadow": {"RoleARN": "any"},
		"dev-*/shadow": {}
	}`, defaults)
	if got := mapping.Len(); got != 14 {
		t.Errorf("got %d entries, want 14", got)
	}
	for _, test := range []struct{ name, account, want string }{
		{"exact namespace takes precedence over patterns", "prod/app", "exact"},
		{"star alone matches any namespace", "staging/app", "any"},
		{"prefix is more specific than a star alone", "test-1/app", "test"},
		{"prefix and suffix are more specific than a prefix", "test-1-eu/app", "test-eu"},
		{"two stars", "tes-1/app", "te"},
		{"star matches the empty string", "test-/app", "test"},
		{"incomplete prefix", "test/app", "any"},
		{"suffix", "c-blue/other", "blue"},
		{"incomplete suffix", "blue/other", ""},
		{"star in the middle", "a-to-b/other", "a-b"},
		{"same number of characters, fewer stars", "xy-1/stars", "one star"},
		{"same number of stars, alphabetical order", "n/tie", "earlier"},
		{"entry without a role hides less specific entries", "dev-1/shadow", ""},
		{"entry without a role does not match", "prod/shadow", "any"},
		{"another ServiceAccount", "prod/other", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := ""
			if id := mapping.Identity(named(test.account)); id != nil {
				got = id.RoleARN
			}
			if got != test.want {
				t.Errorf("%s: got %q, want %q", test.account, got, test.want)
			}
		})
	}
	if id := mapping.Identity(named("dev-1/shadow")); id == nil || id.IsSet() {
		t.Errorf("entry without a role: got %+v", id)
	}
}

func TestMapping_nil(t *testing.T) {
	var mapping *identity.Mapping
	if got := mapping.Identity(named("default/app")); got != nil || mapping.Len() != 0 {
		t.Errorf("got %+v and %d entries", got, mapping.Len())
	}
}

func TestMapping_entryValues(t *testing.T) {
	usual := func(change func(*identity.Identity)) *identity.Identity {
		id := &identity.Identity{Method: identity.WebIdentity, RoleARN: validRole, Audience: "sts.amazonaws.com", ExpirationSeconds: 86400}
		change(id)
		return id
	}
	d := defaults
	d.RegionalSTS = true
	tests := []struct {
		name, entry string
		change      func(*identity.Defaults)
		want        *identity.Identity
	}{
		{
			name: "role with defaults, except regional endpoints", entry: `{"RoleARN": "` + validRole + `"}`,
			want: usual(func(*identity.Identity) {}),
		},
		{
			name:  "all fields",
			entry: `{"RoleARN": "` + validRole + `", "Audience": "sts.example.com", "UseRegionalSTS": true, "TokenExpiration": 3600}`,
			want: usual(func(id *identity.Identity) {
				id.Audience, id.RegionalSTS, id.ExpirationSeconds = "sts.example.com", true, 3600
			}),
		},
		{
			name: "names in another case, unknown field", entry: `{"rolearn": "` + validRole + `", "useREGIONALsts": true, "More": 1}`,
			want: usual(func(id *identity.Identity) { id.RegionalSTS = true }),
		},
		{
			name: "empty audience and expiration 0, defaults", entry: `{"RoleARN": "` + validRole + `", "Audience": "", "TokenExpiration": 0}`,
			want: usual(func(*identity.Identity) {}),
		},
		{
			name: "expiration below the minimum, minimum and warning", entry: `{"RoleARN": "` + validRole + `", "TokenExpiration": 5}`,
			want: usual(func(id *identity.Identity) {
				id.ExpirationSeconds = 600
				id.Problems = []identity.AnnotationWarning{{
					Annotation: "TokenExpiration of mapping a/b", Value: "5", Message: "is outside 600..86400 seconds", Fallback: "600 is used",
				}}
			}),
		},
		{
			name: "expiration above the maximum, maximum and warning", entry: `{"RoleARN": "` + validRole + `", "TokenExpiration": 4294967297}`,
			want: usual(func(id *identity.Identity) {
				id.ExpirationSeconds = 1 << 32
				id.Problems = []identity.AnnotationWarning{{
					Annotation: "TokenExpiration of mapping a/b", Value: "4294967297", Message: "is outside 600..86400 seconds", Fallback: "4294967296 is used",
				}}
			}),
		},
		{
			name: "invalid ARN, unchanged and warning", entry: `{"RoleARN": "app"}`,
			want: usual(func(id *identity.Identity) {
				id.RoleARN = "app"
				id.Problems = []identity.AnnotationWarning{{
					Annotation: "RoleARN of mapping a/b", Value: "app", Message: "is not a valid ARN of an IAM role", Fallback: "injected unchanged",
				}}
			}),
		},
		{
			name: "bare role name, account set", entry: `{"RoleARN": "app"}`,
			change: func(d *identity.Defaults) { d.Account = &identity.Account{Partition: "aws", ID: "111122223333"} },
			want:   usual(func(*identity.Identity) {}),
		},
		{
			name: "default session name and endpoint", entry: `{"RoleARN": "` + validRole + `"}`,
			change: func(d *identity.Defaults) {
				d.SessionName, d.STSEndpoint = identity.SessionNamePod, "https://sts.example.com"
			},
			want: usual(func(id *identity.Identity) {
				id.SessionName, id.STSEndpoint = identity.SessionNamePod, "https://sts.example.com"
			}),
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := d
			if test.change != nil {
				test.change(&d)
			}
			mapping := parse(t, `{"a/b": `+test.entry+`}`, d)
			if got := mapping.Identity(named("a/b")); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestParseMapping_invalidKeys(t *testing.T) {
	mapping, skipped, err := identity.ParseMapping([]byte(`{
		"good/app": {"RoleARN": "secret"}, "no-slash": {}, "a/b/c": {}, "/app": {}, "ns/": {}, "": {}, "ns/app-*": {},
		"ns/null": null, "ns/list": [], "ns/text": "secret", "ns/type": {"RoleARN": 1, "Audience": "secret"},
		" ns/app": {}, "NS/app": {}, "ns/App": {}, "n_*/app": {}, "ns/big": {"TokenExpiration": 1e99},
		"also-*-good/app": {"Unknown": [1]}
	}`), defaults)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, entry := range skipped {
		keys = append(keys, entry.Entry)
		if strings.Contains(entry.Error(), "secret") {
			t.Errorf("error contains a value: %v", entry)
		}
	}
	want := []string{
		`"no-slash"`, `"a/b/c"`, `"/app"`, `"ns/"`, `""`, `"ns/app-*"`, `"ns/null"`, `"ns/list"`, `"ns/text"`, `"ns/type"`,
		`" ns/app"`, `"NS/app"`, `"ns/App"`, `"n_*/app"`, `"ns/big"`,
	}
	if !slices.Equal(keys, want) {
		t.Errorf("got  %v\nwant %v", keys, want)
	}
	if mapping.Len() != 2 || mapping.Identity(named("good/app")) == nil || mapping.Identity(named("also-very-good/app")) == nil {
		t.Errorf("got %d entries, want the two valid ones", mapping.Len())
	}
}

func TestParseMapping_repeatedKey(t *testing.T) {
	for name, test := range map[string]struct{ content, skipped string }{
		"two valid entries":                {`{"a/b": {"RoleARN": "first", "Audience": "first"}, "once/b": {}, "a\u002fb": {"RoleARN": "last"}}`, `"a/b" is repeated; the last valid entry is used`},
		"invalid entry before a valid one": {`{"a/b": null, "once/b": {}, "a/b": {"RoleARN": "last"}}`, `"a/b" is null`},
		"invalid entry after a valid one":  {`{"a/b": {"RoleARN": "last"}, "once/b": {}, "a/b": null}`, `"a/b" is null`},
		"one valid entry of three":         {`{"a/b": [], "a/b": {"RoleARN": "last"}, "a/b": 1, "once/b": {}}`, `"a/b" has fields of the wrong type; "a/b" has fields of the wrong type`},
		"repeated pattern":                 {`{"*/b": {"RoleARN": "first"}, "*/b": {"RoleARN": "last"}}`, `"*/b" is repeated; the last valid entry is used`},
	} {
		t.Run(name, func(t *testing.T) {
			mapping, skipped, err := identity.ParseMapping([]byte(test.content), defaults)
			if err != nil || skipped.String() != test.skipped {
				t.Errorf("got skipped %v and error %v, want %s", skipped, err, test.skipped)
			}
			if got := mapping.Identity(named("a/b")); got == nil || got.RoleARN != "last" || got.Audience != "sts.amazonaws.com" {
				t.Errorf("got %+v of %d entries", got, mapping.Len())
			}
		})
	}
}

func TestEntryErrorsString_thousandsOfEntries(t *testing.T) {
	var content strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&content, ",%q:null", fmt.Sprint(i, strings.Repeat("é", 300)))
	}
	_, skipped, err := identity.ParseMapping([]byte("{"+content.String()[1:]+"}"), defaults)
	if err != nil || len(skipped) != 5000 {
		t.Fatalf("got %d skipped entries, %v", len(skipped), err)
	}
	if got := skipped.String(); len(got) > 16<<10 || !strings.HasSuffix(got, "and 4990 more") {
		t.Errorf("got %d bytes that end in %q", len(got), got[len(got)-20:])
	}
}

func TestParseMapping_notAnObject(t *testing.T) {
	for _, content := range []string{"", " ", "null", "[]", "{", `"x"`, "1", `{"a/b": {}} more`, `{"a/b": {}}{}`, `{"a/b": {},}`, `{"secret"}`} {
		mapping, skipped, err := identity.ParseMapping([]byte(content), defaults)
		if err == nil || mapping != nil || skipped != nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: got %d entries, %v, %v", content, mapping.Len(), skipped, err)
		}
	}
}

// TestParseMapping_orderOfEntries checks that a mapping does not depend on the order of its
// entries.
func TestParseMapping_orderOfEntries(t *testing.T) {
	entries := []string{
		`"a/app": {"RoleARN": "1"}`, `"*/app": {"RoleARN": "2"}`, `"a*/app": {"RoleARN": "3"}`, `"*a/app": {"RoleARN": "4"}`,
		`"no-slash": {}`, `"b/app": null`, `"b*/app": {"RoleARN": "5"}`, `"b/app*": {}`,
	}
	random := rand.New(rand.NewPCG(1, 2))
	var want string
	for range 200 {
		random.Shuffle(len(entries), func(i, j int) { entries[i], entries[j] = entries[j], entries[i] })
		mapping, skipped, err := identity.ParseMapping([]byte("{"+strings.Join(entries, ",")+"}"), defaults)
		if err != nil || len(skipped) != 3 {
			t.Fatalf("got %v, %v", skipped, err)
		}
		got := ""
		for _, namespace := range []string{"a", "b", "c", "ab", "ba", "aa"} {
			got += mapping.Identity(named(namespace + "/app")).RoleARN
		}
		if want = cmp.Or(want, got); got != want {
			t.Fatalf("got roles %s, and %s in another order", got, want)
		}
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add([]byte(`{"ns/app": {"RoleARN": "x", "TokenExpiration": -1}, "*/app": {}, "t*t/app": null}`), "ns", "app")
	f.Add([]byte(`{"a*b*c/app": {"Audience": ""}, "*-prod/app": {"RoleARN": "x"}, "a/b/c": {}}`), "a-b-c", "app")
	f.Add([]byte(`{"*-prod/app": {}}`), "a-prod-b", "app")
	f.Add([]byte(`{"test-*/app": {}}`), "a-test-b", "app")
	f.Add([]byte(`{"a*b*/app": {}}`), "a-c", "app")
	f.Add([]byte(`{"n*/app": {}, "n*/app": {"TokenExpiration": 1e99}}`), "ns", "app")
	f.Add([]byte(`{"a": null, "": {}, "/": []}`), "", "")
	f.Add([]byte("null"), "a", "b")
	f.Fuzz(func(t *testing.T, content []byte, namespace, name string) {
		mapping, _, _ := identity.ParseMapping(content, defaults)
		account := types.NamespacedName{Namespace: namespace, Name: name}
		id := mapping.Identity(account)
		if utf8.ValidString(namespace) && (id != nil) != anyKeyMatches(t, content, account) {
			t.Errorf("%s: got %+v", account, id)
		}
		if id != nil && (id.Audience == "" || id.ExpirationSeconds != token.ClampExpiration(id.ExpirationSeconds)) {
			t.Errorf("got %+v", id)
		}
	})
}

// anyKeyMatches reports whether a valid entry matches the ServiceAccount. Unlike Mapping, it checks
// the entries one by one, with regular expressions.
func anyKeyMatches(t *testing.T, content []byte, account types.NamespacedName) bool {
	t.Helper()
	var object map[string]json.RawMessage
	if json.Unmarshal(content, &object) != nil || object == nil {
		return false
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	if _, err := decoder.Token(); err != nil {
		t.Fatal(err)
	}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			t.Fatal(err)
		}
		key := token.(string)
		var entry json.RawMessage
		if err := decoder.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		namespace, ok := strings.CutSuffix(key, "/"+account.Name)
		if !ok {
			continue
		}
		matches := strings.ReplaceAll(regexp.QuoteMeta(namespace), `\*`, `.*`)
		if !regexp.MustCompile(`(?s)^` + matches + `$`).MatchString(account.Namespace) {
			continue
		}
		quoted, err := json.Marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		alone := slices.Concat([]byte("{"), quoted, []byte(":"), entry, []byte("}"))
		if _, skipped, err := identity.ParseMapping(alone, defaults); err == nil && len(skipped) == 0 {
			return true
		}
	}
	return false
}

func TestGlob(t *testing.T) {
	for _, test := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"a", "a", true},
		{"*", "", true},
		{"*", "abc", true},
		{"a*", "abc", true},
		{"*c", "abc", true},
		{"a*c", "abc", true},
		{"a*c", "ac", true},
		{"a*a", "a", false},
		{"a*b*c", "a-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"a*b*", "a-c", false},
		{"**", "x", true},
		{"a.c", "abc", false},
	} {
		if got := identity.Glob(test.pattern, test.s); got != test.want {
			t.Errorf("%q, %q: got %t, want %t", test.pattern, test.s, got, test.want)
		}
	}
}

func TestParseMapping_rolesOfOtherSTS(t *testing.T) {
	const content = `{"shop/cart": {"RoleARN": "arn:aws:iam::RGW12345678901234567:role/app"}}`
	for endpoint, want := range map[string]int{"": 1, "https://sts.eu-west-1.amazonaws.com": 1, "https://rgw.example.com": 0} {
		with := defaults
		with.STSEndpoint = endpoint
		mapping, _, err := identity.ParseMapping([]byte(content), with)
		if err != nil {
			t.Fatal(err)
		}
		if got := mapping.Identity(types.NamespacedName{Namespace: "shop", Name: "cart"}).Problems; len(got) != want {
			t.Errorf("at %q: got %+v, want %d problems", endpoint, got, want)
		}
	}
}
