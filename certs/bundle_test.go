package certs

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
)

// othersBundle returns a caBundle that another client wrote. It is a self-signed serving
// certificate that is not a CA, with comments and the line ends of another system.
func othersBundle(t testing.TB) []byte {
	t.Helper()
	selfSigned, _, err := sign(&x509.Certificate{
		DNSNames: []string{"webhook.aws.svc"}, NotBefore: currentContent, NotAfter: currentContent.Add(365 * day),
	}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Concat([]byte("# theirs\r\n"), bytes.ReplaceAll(encode(selfSigned), []byte("\n"), []byte("\r\n")), []byte("# the end"))
}

func none(string) bool { return false }

func TestBundleWith_keepsTheRest(t *testing.T) {
	ca := newWorld(t).secret.signers[0].certificate
	ours, theirs := encode(ca), othersBundle(t)
	withHeaders := bytes.Replace(ours, []byte("-----\n"), []byte("-----\nA: b\n\n"), 1)
	for name, existing := range map[string][]byte{
		"nothing":                      nil,
		"a placeholder":                []byte("\n"),
		"no PEM":                       []byte("garbage"),
		"a block without an end":       []byte("-----BEGIN CERTIFICATE-----\nabc"),
		"a block that is no base64":    []byte("-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n"),
		"a block that is no cert":      []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
		"a key":                        []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
		"theirs":                       theirs,
		"theirs, twice":                slices.Concat(theirs, []byte("\n"), theirs),
		"ours, in a block with header": withHeaders,
	} {
		t.Run(name, func(t *testing.T) {
			got := parseBundle(existing).with([]*x509.Certificate{ca}, none)
			if want := slices.Concat(ours, existing); !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(got)
			if _, err := ca.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: currentContent}); err != nil {
				t.Errorf("API servers do not trust the CA: %v", err)
			}
			if again := parseBundle(got).with([]*x509.Certificate{ca}, none); !bytes.Equal(again, got) {
				t.Errorf("second call: got\n%s\nwant no change", again)
			}
			for order, whole := range map[string][]byte{"first": got, "last": slices.Concat(existing, []byte("\n"), ours)} {
				without := parseBundle(whole).with(nil, func(entry string) bool { return entry == fingerprint(ca.Raw) })
				if contains(parseBundle(without).certificates(), ca) {
					t.Errorf("%s: the entry is not removed", order)
				}
			}
		})
	}
}

func TestBundleWith_removesOneEntry(t *testing.T) {
	first, second := newWorld(t).secret.signers[0].certificate, newWorld(t).secret.signers[0].certificate
	comment := func(n int) []byte { return fmt.Appendf(nil, "# %d\n", n) }
	whole := slices.Concat(comment(1), encode(first), comment(2), encode(second), comment(3))
	got := parseBundle(whole).with(nil, func(entry string) bool { return entry == fingerprint(first.Raw) })
	if want := slices.Concat(comment(2), encode(second), comment(3)); !bytes.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// FuzzBundle checks that a caBundle keeps all its content, and that API servers then
// trust the CA.
func FuzzBundle(f *testing.F) {
	ca := newWorld(f).secret.signers[0].certificate
	f.Add([]byte{})
	f.Add(othersBundle(f))
	f.Add(encode(ca))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"))
	f.Fuzz(func(t *testing.T, existing []byte) {
		parsed := parseBundle(existing)
		if same := parsed.with(nil, none); !bytes.Equal(same, existing) {
			t.Fatalf("got %q, want %q", same, existing)
		}
		got := parsed.with([]*x509.Certificate{ca}, none)
		if !bytes.HasSuffix(got, existing) || !contains(parseBundle(got).certificates(), ca) {
			t.Fatalf("got %q", got)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(got)
		if _, err := ca.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: currentContent}); err != nil {
			t.Fatal(err)
		}
	})
}
