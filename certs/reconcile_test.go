package certs

import (
	"context"
	"crypto/x509"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// newReplica returns a Rotator that has never reached its API server, at a time.
func newReplica(t *testing.T, now time.Time) *Rotator {
	t.Helper()
	a, err := NewRotator(RotatorConfig{
		API: &rest.Config{Host: "https://127.0.0.1:1"}, Service: service, Secret: "secret", WebhookConfiguration: "configuration",
		CALifetime: 365 * day, ServingLifetime: 30 * day,
		Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func secretOf(data map[string][]byte) *corev1.Secret { return &corev1.Secret{Data: data} }

// TestStart_otherCA checks which CAs a replica accepts from the Secret. API servers
// trust its own CA, and trust the other only in cases that state it.
func TestStart_otherCA(t *testing.T) {
	known, other := newWorld(t), newWorld(t)
	knownCA, otherCA := known.secret.signers[0], other.secret.signers[0]
	retired := map[string]time.Time{fingerprint(knownCA.certificate.Raw): currentContent}
	earlier := earlierData(t, known)
	ofEarlier := map[string][]byte{"tls.crt": earlier["tls.crt"], "tls.key": earlier["tls.key"]}
	former := []*x509.Certificate{knownCA.certificate}
	for name, test := range map[string]struct {
		secret     secretContent
		stored     map[string][]byte
		trustedCAs []*x509.Certificate
		want       *x509.Certificate
	}{
		"the one it knows":                      {secret: known.secret, want: knownCA.certificate},
		"another":                               {secret: other.secret, want: knownCA.certificate},
		"another, which is trusted, too":        {secret: other.secret, trustedCAs: []*x509.Certificate{otherCA.certificate}, want: otherCA.certificate},
		"another, and the known without key":    {secret: secretContent{signers: other.secret.signers, former: former}, want: knownCA.certificate},
		"another, and the known is retired":     {secret: secretContent{signers: other.secret.signers, former: former, retired: retired}, want: otherCA.certificate},
		"another, by an earlier version":        {secret: secretContent{signers: other.secret.signers, former: former}, stored: ofEarlier, want: otherCA.certificate},
		"another, with its serving certificate": {secret: secretContent{signers: other.secret.signers, former: former}, stored: earlierData(t, other), want: knownCA.certificate},
		"another before the known":              {secret: secretContent{signers: []authority{otherCA, knownCA}}, want: knownCA.certificate},
		"the known before another":              {secret: secretContent{signers: []authority{knownCA, otherCA}}, want: knownCA.certificate},
		"the known, without its key":            {secret: secretContent{former: former}},
		"another, without its key":              {secret: secretContent{former: []*x509.Certificate{otherCA.certificate}}, want: knownCA.certificate},
	} {
		t.Run(name, func(t *testing.T) {
			a := newReplica(t, currentContent.Add(day))
			a.lastValid = known.secret
			data := secretData(t, test.secret)
			for _, key := range []string{"tls.crt", "tls.key"} {
				data[key] = test.stored[key]
			}
			published := parseBundle(encode(append(test.trustedCAs, knownCA.certificate)...))
			got, _ := a.currentContent(secretOf(data), observed{bundles: []bundle{published}})
			switch {
			case test.want == nil && len(got.signers) > 0:
				t.Errorf("got the signer %s, want none", got.signers[0].certificate.Subject)
			case test.want != nil && (len(got.signers) == 0 || !got.signers[0].certificate.Equal(test.want)):
				t.Errorf("got %d signers; the first one is not the expected one", len(got.signers))
			}
		})
	}
}

// TestServe_earlierVersionHasJustMadeACA starts a replica next to replicas of an
// earlier version, which serve a certificate of a CA whose key is lost.
func TestServe_earlierVersionHasJustMadeACA(t *testing.T) {
	old, next := newWorld(t), newWorld(t)
	oldCA := old.secret.signers[0].certificate
	data := secretData(t, secretContent{signers: next.secret.signers, former: []*x509.Certificate{oldCA}})
	serving := earlierData(t, old)
	maps.Copy(data, map[string][]byte{"tls.crt": serving["tls.crt"], "tls.key": serving["tls.key"]})
	secret := secretOf(data)
	seen := observed{bundles: []bundle{parseBundle(encode(next.secret.signers[0].certificate, oldCA))}}

	a := newReplica(t, currentContent.Add(day))
	serve := func(published func(*x509.Certificate) bool) *x509.Certificate {
		t.Helper()
		c, err := parseContent(data)
		if err != nil {
			t.Fatal(err)
		}
		if c, _, err = a.planner.plan(c, a.clock.now(), seen, published); err != nil {
			t.Fatal(err)
		}
		if err := a.serve(context.Background(), secret, c, seen, published); err != nil {
			t.Fatal(err)
		}
		return a.current.Load().Leaf
	}
	if got := serve(never); got.CheckSignatureFrom(oldCA) != nil {
		t.Error("the new CA has signed before API servers trust it")
	}
	if got := serve(always); got.CheckSignatureFrom(next.secret.signers[0].certificate) != nil {
		t.Error("the new CA has not signed")
	}

	// Without another certificate, signing early is better than not at all.
	a = newReplica(t, currentContent.Add(day))
	data["tls.crt"] = nil
	if got := serve(never); got.CheckSignatureFrom(next.secret.signers[0].certificate) != nil {
		t.Error("the new CA has not signed")
	}
}

func TestRenew_withoutAPIServer(t *testing.T) {
	w := newWorld(t)
	now := currentContent
	a := newReplica(t, now)
	a.clock.local = func() time.Time { return now }
	a.lastValid = w.secret
	if err := a.sign(t.Context(), w.secret.signers[0]); err != nil {
		t.Fatal(err)
	}
	first := a.current.Load().Leaf
	for _, step := range []struct {
		after   time.Duration
		renewed bool
	}{{20*day - time.Second, false}, {20 * day, true}} {
		now = currentContent.Add(step.after)
		if err := a.renew(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := !a.current.Load().Leaf.Equal(first); got != step.renewed {
			t.Errorf("after %s: renewed %t, want %t", step.after, got, step.renewed)
		}
	}
	if err := trusts(w.bundle, a.current.Load(), now.Add(20*day)); err != nil {
		t.Error(err)
	}
}
