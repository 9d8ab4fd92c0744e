package rotation_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer/rotation"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

var (
	oldKey = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{1}, 32))).Public()
	newKey = must(ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{2}, 32))).Public()
	oldID  = must(issuer.KeyID(oldKey))
	newID  = must(issuer.KeyID(newKey))
	// now is when it is asked, with all the seconds that HTTP knows.
	now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// host is one that the certificate of httptest is for.
const host = "example.com"

// network is the DNS and the edges that it leads to: servers of the same port, each on
// an address of loopback.
type network struct {
	issuer    string
	roots     *x509.CertPool
	addresses []netip.Addr
	failure   error
}

func (n *network) LookupNetIP(_ context.Context, _, asked string) ([]netip.Addr, error) {
	if asked != host {
		return nil, &net.DNSError{Err: "no such host", Name: asked, IsNotFound: true}
	}
	return n.addresses, n.failure
}

// edge is what an address answers.
type edge struct {
	keys []crypto.PublicKey
	// discovery and jwks replace the documents, header is that of the key set.
	discovery, jwks string
	header          http.Header
	status          int
}

func serving(t *testing.T, edges ...edge) *network {
	t.Helper()
	n := &network{roots: x509.NewCertPool()}
	port := "0"
	for i, e := range edges {
		address := fmt.Sprintf("127.0.0.%d", i+1)
		listener, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ = net.SplitHostPort(listener.Addr().String())
		n.issuer = "https://" + net.JoinHostPort(host, port)
		server := httptest.NewUnstartedServer(e.handler(t, n.issuer))
		_ = server.Listener.Close()
		server.Listener = listener
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.StartTLS()
		t.Cleanup(server.Close)
		n.roots.AddCert(server.Certificate())
		n.addresses = append(n.addresses, netip.MustParseAddr(address))
	}
	return n
}

func (e edge) handler(t *testing.T, issuerURL string) http.Handler {
	documents, err := issuer.NewDocuments(issuerURL, issuerURL+issuer.JWKSPath, append(e.keys, oldKey))
	if err != nil {
		t.Fatal(err)
	}
	discovery, jwks := string(documents.Discovery), string(documents.JWKS)
	if e.discovery != "" {
		discovery = strings.ReplaceAll(e.discovery, "ISSUER", issuerURL)
	}
	if e.jwks != "" {
		jwks = e.jwks
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", now.Format(http.TimeFormat))
		if r.URL.Path == issuer.DiscoveryPath {
			fmt.Fprint(w, discovery)
			return
		}
		if accepted := r.Header.Get("Accept"); !strings.Contains(accepted, "application/jwk-set+json") {
			w.WriteHeader(http.StatusNotAcceptable) // as API servers answer
			return
		}
		maps.Copy(w.Header(), e.header)
		if e.status != 0 {
			w.WriteHeader(e.status)
		}
		fmt.Fprint(w, jwks)
	})
}

func (n *network) check(t *testing.T, keys ...rotation.Key) rotation.Report {
	t.Helper()
	return rotation.Check{
		Issuer: n.issuer, Keys: keys, Resolver: n, Network: "ip", Roots: n.roots, Now: func() time.Time { return now },
	}.Run(t.Context())
}

func next() rotation.Key { return rotation.Key{ID: newID, Public: newKey, From: "new.pub"} }

func signing() rotation.Key {
	return rotation.Key{ID: oldID, Public: oldKey, From: "the cluster", Signs: true}
}

// changed are the headers of a key set that was changed some time ago.
func changed(ago time.Duration, cacheControl string) http.Header {
	return http.Header{"Last-Modified": {now.Add(-ago).Format(http.TimeFormat)}, "Cache-Control": {cacheControl}}
}

func TestCheck_keyPublication(t *testing.T) {
	both := []crypto.PublicKey{newKey}
	hourAgo := changed(time.Hour, "public, max-age=3600")
	for name, test := range map[string]struct {
		edges []edge
		keys  []rotation.Key
		state rotation.State
		// says are parts of what is told.
		says []string
	}{
		"at each address, since longer than caches keep it": {
			[]edge{{keys: both, header: hourAgo}, {keys: both, header: hourAgo}}, []rotation.Key{next()}, rotation.OK, nil,
		},
		"at one of two addresses": {
			[]edge{{keys: both, header: hourAgo}, {header: hourAgo}},
			[]rotation.Key{next()},
			rotation.Broken,
			[]string{"address 127.0.0.2: it lacks the key " + newID},
		},
		"at an address whose cache is old": {
			[]edge{{keys: both}, {header: http.Header{"Age": {"600"}, "Cache-Control": {"max-age=3600"}}}},
			[]rotation.Key{next()},
			rotation.Broken,
			[]string{"address 127.0.0.2", "which may give it for 50m0s yet", "purge"},
		},
		"too short a time ago": {
			[]edge{{keys: both, header: changed(10*time.Minute, "max-age=60, s-maxage=3600")}},
			[]rotation.Key{next()},
			rotation.Unknown,
			[]string{"until 2026-11-24T12:50:00Z"},
		},
		"too short a time ago, but it signs already": {
			[]edge{{header: changed(10*time.Minute, "max-age=3600")}}, []rotation.Key{signing()}, rotation.OK, nil,
		},
		"short ago, but caches may not keep it": {
			[]edge{{keys: both, header: changed(time.Second, "no-store")}}, []rotation.Key{next()}, rotation.OK, nil,
		},
		"at a time that is not told": {
			[]edge{{keys: both, header: http.Header{"Cache-Control": {"max-age=3600"}}}},
			[]rotation.Key{next()},
			rotation.OK,
			[]string{"Caches may hold an older one for 1h0m0s"},
		},
		"under another's id": {
			[]edge{{jwks: keySet(newKey, "other")}}, []rotation.Key{next()}, rotation.Broken, []string{`it has the key ` + newID + ` under the id "other"`},
		},
		"as another key of its id": {
			[]edge{{jwks: keySet(oldKey, newID)}}, []rotation.Key{next()}, rotation.Broken, []string{"it has another key under the id " + newID},
		},
		"with nothing known of it but its id": {
			[]edge{{}}, []rotation.Key{{ID: oldID, From: "a token", Signs: true}}, rotation.OK, nil,
		},
		"at an address that has no keys": {
			[]edge{{status: http.StatusForbidden}}, []rotation.Key{signing()}, rotation.Broken, []string{"403 Forbidden"},
		},
		"at an address with a web page for keys": {
			[]edge{{jwks: "<html>"}}, []rotation.Key{signing()}, rotation.Broken, []string{"not JSON"},
		},
		"at an address of another issuer": {
			[]edge{{}, {discovery: `{"issuer": "https://another.example.com", "jwks_uri": "ISSUER/openid/v1/jwks"}`}},
			[]rotation.Key{signing()},
			rotation.Broken,
			[]string{"discovery document", "address 127.0.0.2", "another.example.com"},
		},
		"in different places": {
			[]edge{{}, {discovery: `{"issuer": "ISSUER", "jwks_uri": "ISSUER/keys.json"}`}},
			[]rotation.Key{signing()},
			rotation.Broken,
			[]string{"do not agree where the keys are"},
		},
		"at a host that nobody knows": {
			[]edge{{discovery: `{"issuer": "ISSUER", "jwks_uri": "https://keys.example.org/jwks"}`}},
			[]rotation.Key{signing()},
			rotation.Broken,
			[]string{"the DNS has no address of keys.example.org"},
		},
		"with no key to look for": {[]edge{{}}, nil, rotation.Unknown, []string{"no key is known"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := serving(t, test.edges...).check(t, test.keys...)
			told := told(got)
			if got.State != test.state {
				t.Errorf("got %s, want %s:\n%s", got.State, test.state, told)
			}
			if (got.State == rotation.OK) != (len(got.Problems) == 0) {
				t.Errorf("it is %s, with the problems %q", got.State, got.Problems)
			}
			for _, part := range test.says {
				if !strings.Contains(told, part) {
					t.Errorf("it does not say %q:\n%s", part, told)
				}
			}
		})
	}
}

func told(report rotation.Report) string {
	texts := report.Notes
	for _, problem := range report.Problems {
		texts = append(texts, problem.Text)
	}
	return strings.Join(texts, "\n")
}

func keySet(key crypto.PublicKey, id string) string {
	return string(must(json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: id, Use: "sig"}}})))
}

func TestCheck_queriesEachAddress(t *testing.T) {
	got := serving(t, edge{keys: []crypto.PublicKey{newKey}}, edge{}, edge{keys: []crypto.PublicKey{newKey}}).check(t, signing(), next())
	if len(got.Endpoints) != 6 {
		t.Fatalf("got %d edges, want 3 for each document", len(got.Endpoints))
	}
	for _, edge := range got.Endpoints {
		if lacks := edge.Address == "127.0.0.2" && edge.Document == issuer.StepKeySet; lacks != (len(edge.Missing) == 1 && edge.Missing[0] == newID) {
			t.Errorf("the %s at %s lacks %q", edge.Document, edge.Address, edge.Missing)
		}
	}
	want := []rotation.KeyReport{
		{ID: oldID, From: "the cluster", Signs: true, Published: 3, Of: 3, State: rotation.OK},
		{ID: newID, From: "new.pub", Published: 2, Of: 3, State: rotation.Broken},
	}
	if len(got.Keys) != 2 || got.Keys[0] != want[0] || got.Keys[1] != want[1] {
		t.Errorf("got  %+v\nwant %+v", got.Keys, want)
	}
}

func TestCheck_unreachable(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(*network)
		says  string
	}{
		"an address that nobody listens at":  {func(n *network) { n.addresses = append(n.addresses, netip.MustParseAddr("127.0.0.9")) }, "it does not answer from here"},
		"a DNS that does not answer":         {func(n *network) { n.failure = &net.DNSError{Err: "server misbehaving", IsTemporary: true} }, "the DNS has no address"},
		"a certificate of a CA of one's own": {func(n *network) { n.roots = x509.NewCertPool() }, "--issuer-ca-file"},
	} {
		t.Run(name, func(t *testing.T) {
			n := serving(t, edge{})
			test.spoil(n)
			got := n.check(t, signing())
			if got.State != rotation.Unknown || !strings.Contains(told(got), test.says) {
				t.Errorf("got %s: %q, want %q", got.State, got.Problems, test.says)
			}
		})
	}
}

func TestCheck_invalidDocuments(t *testing.T) {
	for name, other := range map[string]func(issuerURL string) string{
		"an issuer without TLS": func(string) string { return "http://" + host },
		// Loopback's second address is none of those that the certificate is for.
		"a certificate of another host":           func(issuerURL string) string { return strings.Replace(issuerURL, host, "127.0.0.2", 1) },
		"an issuer that no DNS has an address of": func(string) string { return "https://nowhere.example.org" },
	} {
		t.Run(name, func(t *testing.T) {
			n := serving(t, edge{}, edge{})
			n.issuer = other(n.issuer)
			if got := n.check(t, signing()); got.State != rotation.Broken {
				t.Errorf("got %s: %q, want %s", got.State, got.Problems, rotation.Broken)
			}
		})
	}
}

func TestCheck_contextCanceled(t *testing.T) {
	n := serving(t, edge{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	got := rotation.Check{Issuer: n.issuer, Keys: []rotation.Key{signing()}, Resolver: n, Network: "ip", Roots: n.roots, Now: time.Now}.Run(ctx)
	if got.State != rotation.Unknown {
		t.Errorf("got %s: %q, want %s", got.State, got.Problems, rotation.Unknown)
	}
}
