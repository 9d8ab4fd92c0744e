package certs

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"maps"
	"math/big"
	"strings"
	"testing"

	"k8s.io/client-go/util/keyutil"
)

// stored is the data of a Secret, as a plan makes it.
func stored(t testing.TB) map[string][]byte {
	t.Helper()
	c, _, err := testPlanner().plan(content{}, start, never)
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.data()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestParseNamesWhatCannotBeUsed(t *testing.T) {
	good, other := stored(t), stored(t)
	elsewhere := newPlanner(service, 365*day, 30*day)
	elsewhere.names = []string{"elsewhere"}
	misnamed, _, err := elsewhere.plan(content{}, start, never)
	if err != nil {
		t.Fatal(err)
	}
	misnamedData, err := misnamed.data()
	if err != nil {
		t.Fatal(err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(good["ca.key"])
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
		change    map[string][]byte
		want      []string
		authority bool
		signer    bool
		serving   bool
	}{
		"nothing":                  {change: map[string][]byte{"ca.crt": nil, "ca.key": nil, "tls.crt": nil, "tls.key": nil}, want: []string{"ca.crt"}},
		"no CA":                    {change: map[string][]byte{"ca.crt": nil}, want: []string{"ca.crt"}},
		"garbage for a CA":         {change: map[string][]byte{"ca.crt": []byte("garbage")}, want: []string{"ca.crt"}},
		"no CA's certificate":      {change: map[string][]byte{"ca.crt": good["tls.crt"]}, want: []string{"ca.crt", "not a CA"}},
		"a CA that may not sign":   {change: map[string][]byte{"ca.crt": powerlessPEM}, want: []string{"ca.crt", "not a CA"}},
		"garbage for the CA's key": {change: map[string][]byte{"ca.key": []byte("garbage")}, want: []string{"ca.key"}, authority: true, serving: true},
		"another CA's key":         {change: map[string][]byte{"ca.key": other["ca.key"]}, want: []string{"ca.key"}, authority: true, serving: true},
		"no serving certificate":   {change: map[string][]byte{"tls.crt": nil}, want: []string{"tls.crt"}, authority: true, signer: true},
		"another key":              {change: map[string][]byte{"tls.key": other["tls.key"]}, want: []string{"tls.key"}, authority: true, signer: true},
		"another CA's certificate": {change: map[string][]byte{"tls.crt": other["tls.crt"], "tls.key": other["tls.key"]}, want: []string{"not signed"}, authority: true, signer: true},
		"another Service's":        {change: misnamedData, want: []string{"webhook"}, authority: true, signer: true},
		"two faults":               {change: map[string][]byte{"ca.key": []byte("x"), "tls.key": []byte("x")}, want: []string{"ca.key", "tls.key"}, authority: true},
	} {
		t.Run(name, func(t *testing.T) {
			data := maps.Clone(good)
			maps.Copy(data, test.change)
			c, err := parse(data, testPlanner().names)
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "PRIVATE KEY") || strings.Contains(err.Error(), "garbage") {
				t.Errorf("%q quotes the Secret", err)
			}
			if len(c.authorities) > 0 != test.authority || c.signer != nil != test.signer || c.serving != nil != test.serving {
				t.Errorf("%d CAs, key %t, serving certificate %t", len(c.authorities), c.signer != nil, c.serving != nil)
			}
		})
	}
}

func TestAnAbsentCAKeyIsNoFault(t *testing.T) {
	data := stored(t)
	delete(data, "ca.key")
	c, err := parse(data, testPlanner().names)
	if err != nil || c.signer != nil || c.serving == nil {
		t.Errorf("error %v, key %t", err, c.signer != nil)
	}
}

func TestTheSecretIsWhatOthersCanUse(t *testing.T) {
	data := stored(t)
	if _, err := tls.X509KeyPair(data["tls.crt"], data["tls.key"]); err != nil {
		t.Error(err)
	}
	if _, err := keyutil.ParsePrivateKeyPEM(data["ca.key"]); err != nil {
		t.Error(err)
	}
}

// FuzzSecret shows that no Secret, whoever wrote it, stops the upkeep: what the
// plan makes of it can be stored and used.
func FuzzSecret(f *testing.F) {
	good := stored(f)
	f.Add(good["ca.crt"], good["ca.key"], good["tls.crt"], good["tls.key"])
	f.Add([]byte{}, []byte{}, []byte{}, []byte{})
	f.Add(good["tls.crt"], good["ca.key"], good["ca.crt"], good["ca.key"])
	f.Add(append(stored(f)["ca.crt"], good["ca.crt"]...), []byte{}, good["tls.crt"], good["tls.key"])
	f.Fuzz(func(t *testing.T, ca, caKey, certificate, key []byte) {
		p := testPlanner()
		found, _ := parse(map[string][]byte{"ca.crt": ca, "ca.key": caKey, "tls.crt": certificate, "tls.key": key}, p.names)
		next, _, err := p.plan(found, start.Add(day), always)
		if err != nil {
			t.Fatal(err)
		}
		data, err := next.data()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(data, p.names)
		if err != nil {
			t.Fatal(err)
		}
		if err := trusts(again.bundle(), again, start.Add(day)); err != nil {
			t.Fatal(err)
		}
	})
}
