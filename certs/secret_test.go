package certs

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/keyutil"
)

// secretData returns the data of a Secret from a plan.
func secretData(t testing.TB, c secretContent) map[string][]byte {
	t.Helper()
	data, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// earlierData returns the data of a Secret in the format of earlier versions, which
// stored the serving certificate in it.
func earlierData(t testing.TB, w *world) map[string][]byte {
	t.Helper()
	data := secretData(t, w.secret)
	made := w.sign(currentContent)
	data["tls.crt"] = encode(made.Leaf)
	data["tls.key"] = keyPEM(t, made.PrivateKey)
	return data
}

func keyPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestParseContent_invalid(t *testing.T) {
	w := newWorld(t)
	w.secret.retired = map[string]time.Time{"entry": currentContent}
	valid, other := secretData(t, w.secret), secretData(t, newWorld(t).secret)
	key, err := keyutil.ParsePrivateKeyPEM(valid["ca.key"])
	if err != nil {
		t.Fatal(err)
	}
	powerless := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature}
	powerlessDER, err := x509.CreateCertificate(rand.Reader, powerless, powerless, key.(crypto.Signer).Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	powerlessPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: powerlessDER})
	for name, test := range map[string]struct {
		rotation                 map[string][]byte
		want                     []string
		signers, former, retired int
	}{
		"nothing":                  {rotation: map[string][]byte{"ca.crt": nil, "ca.key": nil, "retired.json": nil}, want: []string{"ca.crt"}},
		"no CA":                    {rotation: map[string][]byte{"ca.crt": nil}, want: []string{"ca.crt"}, retired: 1},
		"garbage for a CA":         {rotation: map[string][]byte{"ca.crt": []byte("garbage")}, want: []string{"ca.crt"}, retired: 1},
		"no CA's certificate":      {rotation: map[string][]byte{"ca.crt": encode(w.sign(currentContent).Leaf)}, want: []string{"ca.crt", "not a CA"}, retired: 1},
		"a CA that may not sign":   {rotation: map[string][]byte{"ca.crt": powerlessPEM}, want: []string{"ca.crt", "not a CA"}, retired: 1},
		"garbage for the CA's key": {rotation: map[string][]byte{"ca.key": []byte("garbage")}, want: []string{"ca.key"}, former: 1, retired: 1},
		"garbage after the key":    {rotation: map[string][]byte{"ca.key": append(bytes.Clone(valid["ca.key"]), "garbage"...)}, want: []string{"ca.key"}, former: 1, retired: 1},
		"another CA's key":         {rotation: map[string][]byte{"ca.key": other["ca.key"]}, want: []string{"ca.key"}, former: 1, retired: 1},
		"a key too many":           {rotation: map[string][]byte{"ca.key": slices.Concat(valid["ca.key"], other["ca.key"])}, want: []string{"ca.key"}, signers: 1, retired: 1},
		"garbage for the record":   {rotation: map[string][]byte{"retired.json": []byte("garbage")}, want: []string{"retired.json"}, signers: 1},
		"two invalid keys":         {rotation: map[string][]byte{"ca.key": []byte("x"), "retired.json": []byte("x")}, want: []string{"ca.key", "retired.json"}, former: 1},
	} {
		t.Run(name, func(t *testing.T) {
			data := maps.Clone(valid)
			maps.Copy(data, test.rotation)
			c, err := parseContent(data)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %q, want it to contain %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "PRIVATE KEY") || strings.Contains(err.Error(), "garbage") {
				t.Errorf("error %q quotes the Secret", err)
			}
			if len(c.signers) != test.signers || len(c.former) != test.former || len(c.retired) != test.retired {
				t.Errorf("got %d signers, %d former CAs, %d records, want %d, %d, %d",
					len(c.signers), len(c.former), len(c.retired), test.signers, test.former, test.retired)
			}
		})
	}
}

func TestParseContent_keyRemoved(t *testing.T) {
	data := secretData(t, newWorld(t).secret)
	delete(data, "ca.key")
	c, err := parseContent(data)
	if err != nil || len(c.signers) != 0 || len(c.former) != 1 {
		t.Errorf("error %v, %d signers, %d former CAs", err, len(c.signers), len(c.former))
	}
}

// TestContentData_readableByEarlierVersions checks each state of a rotation for the
// format of earlier versions. In it, ca.crt has only CAs, and ca.key starts with the
// key of the first CA.
func TestContentData_readableByEarlierVersions(t *testing.T) {
	w := newWorld(t)
	w.bundle = slices.Concat(w.bundle, othersBundle(t))
	check := func(state string) {
		t.Helper()
		data := secretData(t, w.secret)
		authorities, err := parseAuthorities(data["ca.crt"])
		if err != nil {
			t.Fatalf("%s: %v", state, err)
		}
		key, err := keyutil.ParsePrivateKeyPEM(data["ca.key"])
		if err != nil || !isKeyOf(key.(crypto.Signer), authorities[0]) {
			t.Errorf("%s: the first key is not that of the first CA, error %v", state, err)
		}
	}
	w.run(currentContent, never)
	check("one CA")
	w.run(currentContent.Add(afterCADue), never)
	check("a second CA, not published")
	w.run(currentContent.Add(afterCADue), always)
	check("a former CA")
}

func TestParseStored(t *testing.T) {
	w := newWorld(t)
	names := testPlanner().names
	valid := earlierData(t, w)
	if got := parseStored(valid, names); got == nil || got.Leaf.CheckSignatureFrom(w.secret.signers[0].certificate) != nil {
		t.Error("the certificate of an earlier version is not found")
	}
	for name, change := range map[string]map[string][]byte{
		"nothing":     {"tls.crt": nil, "tls.key": nil},
		"another key": {"tls.key": valid["ca.key"]},
		"a CA":        {"tls.crt": valid["ca.crt"], "tls.key": valid["ca.key"]},
	} {
		data := maps.Clone(valid)
		maps.Copy(data, change)
		if parseStored(data, names) != nil {
			t.Errorf("%s: got a certificate, want none", name)
		}
	}
	if parseStored(valid, []string{"elsewhere.aws.svc"}) != nil {
		t.Error("got the certificate of another Service, want none")
	}
}

// FuzzSecret checks that no Secret stops the reconciles: the planned content can be
// stored and used.
func FuzzSecret(f *testing.F) {
	w := newWorld(f)
	w.secret.retired = map[string]time.Time{"entry": currentContent}
	valid := secretData(f, w.secret)
	f.Add(valid["ca.crt"], valid["ca.key"], valid["retired.json"])
	f.Add([]byte{}, []byte{}, []byte{})
	f.Add(encode(w.sign(currentContent).Leaf), valid["ca.key"], []byte(`{"":null}`))
	f.Add(slices.Concat(valid["ca.crt"], secretData(f, newWorld(f).secret)["ca.crt"]), []byte{}, []byte("[]"))
	f.Fuzz(func(t *testing.T, ca, key, retired []byte) {
		found, _ := parseContent(map[string][]byte{"ca.crt": ca, "ca.key": key, "retired.json": retired})
		(&world{t: t, secret: found}).run(currentContent.Add(day), always)
	})
}
