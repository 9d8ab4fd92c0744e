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
	// now is the time of the check, in whole seconds as in HTTP headers.
	now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

// host is a name in the certificate of httptest.
const host = "example.com"

// network is a fake DNS and the servers of an issuer. All servers have the same port, and each
// has its own loopback address.
type network struct {
	issuer    string
	roots     *x509.CertPool
	addresses []netip.Addr
	err       error
}

func (n *network) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if name != host {
		return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return n.addresses, n.err
}

// edge is the configuration of one server.
type edge struct {
	keys []crypto.PublicKey
	// discovery and jwks replace the documents. header is added to responses with the key set.
	discovery, jwks string
	header          http.Header
	status          int
}

// newNetwork starts a server for each edge.
func newNetwork(t *testing.T, edges ...edge) *network {
	t.Helper()
	n := &network{roots: x509.NewCertPool()}
	for i, listener := range listeners(t, len(edges)) {
		e := edges[i]
		address, port, _ := net.SplitHostPort(listener.Addr().String())
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

// listeners listens on the same port of several loopback addresses. A port that is free on
// the first can be in use on another.
func listeners(t *testing.T, count int) []net.Listener {
	t.Helper()
	const attempts = 20
	var last error
	for range attempts {
		port := "0"
		var all []net.Listener
		for i := range count {
			listener, err := net.Listen("tcp", net.JoinHostPort(fmt.Sprintf("127.0.0.%d", i+1), port))
			if err != nil {
				last = err
				break
			}
			_, port, _ = net.SplitHostPort(listener.Addr().String())
			all = append(all, listener)
		}
		if len(all) == count {
			return all
		}
		for _, listener := range all {
			_ = listener.Close()
		}
	}
	t.Fatal(last)
	return nil
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
			w.WriteHeader(http.StatusNotAcceptable) // as API servers do
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

// changed returns the headers of a key set that changed some time ago.
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
		// texts are parts of the problems and notes.
		texts []string
	}{
		"published at all addresses, caches expired": {
			[]edge{{keys: both, header: hourAgo}, {keys: both, header: hourAgo}}, []rotation.Key{next()}, rotation.OK, nil,
		},
		"published at one of two addresses": {
			[]edge{{keys: both, header: hourAgo}, {header: hourAgo}},
			[]rotation.Key{next()},
			rotation.Broken,
			[]string{"address 127.0.0.2: key " + newID + " is missing"},
		},
		"one address has a stale cache": {
			[]edge{{keys: both}, {header: http.Header{"Age": {"600"}, "Cache-Control": {"max-age=3600"}}}},
			[]rotation.Key{next()},
			rotation.Broken,
			[]string{"address 127.0.0.2", "can return it for another 50m0s", "purge"},
		},
		"changed recently": {
			[]edge{{keys: both, header: changed(10*time.Minute, "max-age=60, s-maxage=3600")}},
			[]rotation.Key{next()},
			rotation.Unknown,
			[]string{"until 2026-11-24T12:50:00Z"},
		},
		"changed recently, key signs already": {
			[]edge{{header: changed(10*time.Minute, "max-age=3600")}}, []rotation.Key{signing()}, rotation.OK, nil,
		},
		"changed recently, not cacheable": {
			[]edge{{keys: both, header: changed(time.Second, "no-store")}}, []rotation.Key{next()}, rotation.OK, nil,
		},
		"time of the change unknown": {
			[]edge{{keys: both, header: http.Header{"Cache-Control": {"max-age=3600"}}}},
			[]rotation.Key{next()},
			rotation.OK,
			[]string{"Caches can hold an older one for 1h0m0s"},
		},
		"key under another ID": {
			[]edge{{jwks: keySet(newKey, "other")}}, []rotation.Key{next()}, rotation.Broken, []string{"key " + newID + ` has the ID "other"`},
		},
		"another key under the ID": {
			[]edge{{jwks: keySet(oldKey, newID)}}, []rotation.Key{next()}, rotation.Broken, []string{"key ID " + newID + " belongs to another key"},
		},
		"only the ID is known": {
			[]edge{{}}, []rotation.Key{{ID: oldID, From: "a token", Signs: true}}, rotation.OK, nil,
		},
		"key set not available": {
			[]edge{{status: http.StatusForbidden}}, []rotation.Key{signing()}, rotation.Broken, []string{"403 Forbidden"},
		},
		"key set is a web page": {
			[]edge{{jwks: "<html>"}}, []rotation.Key{signing()}, rotation.Broken, []string{"invalid JSON"},
		},
		"one address serves another issuer": {
			[]edge{{}, {discovery: `{"issuer": "https://another.example.com", "jwks_uri": "ISSUER/openid/v1/jwks"}`}},
			[]rotation.Key{signing()},
			rotation.Broken,
			[]string{"discovery document", "address 127.0.0.2", "another.example.com"},
		},
		"different JWKS URIs": {
			[]edge{{}, {discovery: `{"issuer": "ISSUER", "jwks_uri": "ISSUER/keys.json"}`}},
			[]rotation.Key{signing()},
			rotation.Broken,
			[]string{"different values of jwks_uri"},
		},
		"unknown host of the keys": {
			[]edge{{discovery: `{"issuer": "ISSUER", "jwks_uri": "https://keys.example.org/jwks"}`}},
			[]rotation.Key{signing()},
			rotation.Broken,
			[]string{"cannot resolve keys.example.org"},
		},
		"no keys": {[]edge{{}}, nil, rotation.Unknown, []string{"no signing key is known"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := newNetwork(t, test.edges...).check(t, test.keys...)
			text := textOf(got)
			if got.State != test.state {
				t.Errorf("got %s, want %s:\n%s", got.State, test.state, text)
			}
			if (got.State == rotation.OK) != (len(got.Problems) == 0) {
				t.Errorf("got state %s with the problems %q", got.State, got.Problems)
			}
			for _, part := range test.texts {
				if !strings.Contains(text, part) {
					t.Errorf("got no %q in:\n%s", part, text)
				}
			}
		})
	}
}

// textOf returns all notes and problems of a report.
func textOf(report rotation.Report) string {
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
	got := newNetwork(t, edge{keys: []crypto.PublicKey{newKey}}, edge{}, edge{keys: []crypto.PublicKey{newKey}}).check(t, signing(), next())
	if len(got.Endpoints) != 6 {
		t.Fatalf("got %d endpoints, want 3 for each document", len(got.Endpoints))
	}
	for _, endpoint := range got.Endpoints {
		if missing := endpoint.Address == "127.0.0.2" && endpoint.Document == issuer.StepKeySet; missing != (len(endpoint.Missing) == 1 && endpoint.Missing[0] == newID) {
			t.Errorf("%s at %s: got missing keys %q", endpoint.Document, endpoint.Address, endpoint.Missing)
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
		change func(*network)
		want   string
	}{
		"nothing listens at an address": {func(n *network) { n.addresses = append(n.addresses, netip.MustParseAddr("127.0.0.9")) }, "no response to this machine"},
		"DNS error":                     {func(n *network) { n.err = &net.DNSError{Err: "server misbehaving", IsTemporary: true} }, "cannot resolve"},
		"untrusted CA":                  {func(n *network) { n.roots = x509.NewCertPool() }, "--issuer-ca-file"},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, edge{})
			test.change(n)
			got := n.check(t, signing())
			if got.State != rotation.Unknown || !strings.Contains(textOf(got), test.want) {
				t.Errorf("got %s: %q, want %q", got.State, got.Problems, test.want)
			}
		})
	}
}

func TestCheck_invalidDocuments(t *testing.T) {
	for name, other := range map[string]func(issuerURL string) string{
		"issuer without TLS": func(string) string { return "http://" + host },
		// The certificate is not valid for the second loopback address.
		"certificate of another host": func(issuerURL string) string { return strings.Replace(issuerURL, host, "127.0.0.2", 1) },
		"unknown host":                func(string) string { return "https://nowhere.example.org" },
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t, edge{}, edge{})
			n.issuer = other(n.issuer)
			if got := n.check(t, signing()); got.State != rotation.Broken {
				t.Errorf("got %s: %q, want %s", got.State, got.Problems, rotation.Broken)
			}
		})
	}
}

func TestCheck_contextCanceled(t *testing.T) {
	n := newNetwork(t, edge{})
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("canceled by the test"))
	got := rotation.Check{Issuer: n.issuer, Keys: []rotation.Key{signing()}, Resolver: n, Network: "ip", Roots: n.roots, Now: time.Now}.Run(ctx)
	if got.State != rotation.Unknown {
		t.Errorf("got %s: %q, want %s", got.State, got.Problems, rotation.Unknown)
	}
}
