package certs

import (
	"bytes"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var service = types.NamespacedName{Namespace: "aws", Name: "webhook"}

const day = 24 * time.Hour

var currentContent = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// afterCADue is when a CA that was created at the start is due.
const afterCADue = 365 * day * 2 / 3

func always(*x509.Certificate) bool { return true }
func never(*x509.Certificate) bool  { return false }

func testPlanner() planner { return newPlanner(service, 365*day, 30*day) }

// world is a Secret and the caBundle of one webhook.
type world struct {
	t      testing.TB
	secret secretContent
	bundle []byte
}

// run simulates a reconcile at a time. It fails the test if the result cannot be
// stored and used.
func (w *world) run(now time.Time, published func(*x509.Certificate) bool) (newCA bool) {
	w.t.Helper()
	p := testPlanner()
	next, newCA, err := p.plan(w.secret, now, observed{bundles: []bundle{parseBundle(w.bundle)}}, published)
	if err != nil {
		w.t.Fatal(err)
	}
	w.secret = stored(w.t, next)
	w.bundle = parseBundle(w.bundle).with(w.secret.published(), p.removes(w.secret, now))
	if err := trusts(w.bundle, w.sign(now), now); err != nil {
		w.t.Errorf("the serving certificate is not trusted: %v", err)
	}
	return newCA
}

// sign returns a serving certificate signed by the first signer.
func (w *world) sign(now time.Time) *serving {
	w.t.Helper()
	p := testPlanner()
	made, err := newServingCert(now, p.serving, p.names, w.secret.signers[0])
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t}
	if !w.run(currentContent, never) {
		t.Fatal("no CA was created")
	}
	return w
}

// stored returns c as it is read from a Secret into which it was written.
func stored(t testing.TB, c secretContent) secretContent {
	t.Helper()
	data, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := parseContent(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.encode()
	if err != nil {
		t.Fatal(err)
	}
	for key, value := range data {
		if !bytes.Equal(again[key], value) {
			t.Errorf("%s changes when it is read and written", key)
		}
	}
	return read
}

// trusts verifies a certificate as an API server with the caBundle does.
func trusts(bundle []byte, served *serving, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := served.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, DNSName: "webhook.aws.svc", CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

func TestPlan_nothingStored(t *testing.T) {
	w := newWorld(t)
	ca := w.secret.signers[0].certificate
	if got, want := ca.NotAfter, currentContent.Add(365*day); !got.Equal(want) {
		t.Errorf("the CA expires at %s, want %s", got, want)
	}
	leaf := w.sign(currentContent).Leaf
	if got, want := leaf.NotAfter, currentContent.Add(30*day); !got.Equal(want) {
		t.Errorf("the serving certificate expires at %s, want %s", got, want)
	}
	for _, certificate := range []*x509.Certificate{ca, leaf} {
		if certificate.PublicKeyAlgorithm != x509.ECDSA || certificate.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: %s, serial number %s", certificate.Subject, certificate.PublicKeyAlgorithm, certificate.SerialNumber)
		}
	}
	if w.run(currentContent.Add(day), never) || len(w.secret.signers) != 1 {
		t.Error("a second CA was created immediately")
	}
}

func TestPlan_newCATakesOverWhenPublished(t *testing.T) {
	w := newWorld(t)
	old := w.secret.signers[0].certificate
	if w.run(currentContent.Add(afterCADue-time.Second), always) {
		t.Fatal("a CA was created before the old one was due")
	}
	due := currentContent.Add(afterCADue)
	if !w.run(due, always) || len(w.secret.signers) != 2 || !w.secret.signers[0].certificate.Equal(old) {
		t.Fatal("no CA was created next to the old one")
	}
	last := w.sign(due.Add(time.Hour))
	w.run(due.Add(time.Hour), never)
	if !last.issuer.Equal(old) || !w.secret.signers[0].certificate.Equal(old) {
		t.Fatal("the new CA signs before it is published")
	}
	promoted := due.Add(time.Hour)
	if w.run(promoted, always) || len(w.secret.signers) != 1 || w.secret.signers[0].certificate.Equal(old) {
		t.Fatal("the new CA does not take over")
	}
	// A replica that cannot reach the API server serves the last certificate of the
	// old CA.
	w.run(promoted.Add(30*day-time.Second), always)
	if err := trusts(w.bundle, last, promoted.Add(30*day-time.Second)); err != nil {
		t.Errorf("the old CA is removed while a replica may serve its last certificate: %v", err)
	}
	w.run(promoted.Add(30*day), always)
	if contains(parseBundle(w.bundle).certificates(), old) || len(w.secret.former) > 0 {
		t.Error("the old CA is not removed")
	}
	w.run(promoted.Add(30*day), always)
	if len(w.secret.retired) > 0 {
		t.Error("the record of the old CA is not removed")
	}
}

// TestPlan_oldCAExpires checks that the new CA takes over before the old one expires,
// even if no reconcile observed that it is published.
func TestPlan_oldCAExpires(t *testing.T) {
	for name, life := range map[string]time.Duration{"a year": 365 * day, "an hour": time.Hour} {
		t.Run(name, func(t *testing.T) {
			planner := newPlanner(service, life, life/10)
			made, _, err := planner.plan(secretContent{}, currentContent, observed{}, never)
			if err != nil {
				t.Fatal(err)
			}
			old := made.signers[0].certificate
			next, changed, err := planner.plan(made, old.NotAfter.Add(-life/4), observed{}, never)
			if err != nil || !changed || len(next.signers) != 2 {
				t.Fatalf("got %d signers, %v; want a new CA next to the old one", len(next.signers), err)
			}
			for _, step := range []struct {
				left time.Duration
				// signs reports whether the old CA still signs.
				signs bool
			}{
				{life / 10, true},
				{min(6*time.Minute, life/16), true},
				{min(4*time.Minute, life/25), false},
				{time.Second, false},
			} {
				got, _, err := planner.plan(next, old.NotAfter.Add(-step.left), observed{}, never)
				if err != nil {
					t.Fatal(err)
				}
				if signs := got.signers[0].certificate.Equal(old); signs != step.signs {
					t.Errorf("%s before its expiry: the old CA signs: %t, want %t", step.left, signs, step.signs)
				}
				if !step.signs && !contains(got.published(), old) {
					t.Errorf("%s before its expiry: the old CA is not published, but its certificates are in use", step.left)
				}
			}
			// Without another CA it signs until it expires.
			alone := secretContent{signers: next.signers[:1]}
			if got, _, err := planner.plan(alone, old.NotAfter.Add(-time.Second), observed{}, never); err != nil || !got.signers[0].certificate.Equal(old) {
				t.Errorf("alone: the old CA no longer signs (%v)", err)
			}
		})
	}
}

func TestPlan_otherLifetimesMeanTheSameCAs(t *testing.T) {
	w := newWorld(t)
	for _, now := range []time.Time{currentContent.Add(day), currentContent.Add(afterCADue)} {
		w.run(now, never)
		for _, lifetime := range []time.Duration{100 * day, 10 * 365 * day} {
			p := newPlanner(service, lifetime, lifetime/3)
			next, newCA, err := p.plan(w.secret, now, observed{bundles: []bundle{parseBundle(w.bundle)}}, never)
			if err != nil || newCA || len(next.signers) != len(w.secret.signers) {
				t.Errorf("a replica whose CAs live for %s has %d of %d signers, a new one: %t, error %v",
					lifetime, len(next.signers), len(w.secret.signers), newCA, err)
			}
		}
	}
}

func TestPlan_caNotValid(t *testing.T) {
	for name, now := range map[string]time.Time{"expired": currentContent.Add(400 * day), "not valid yet": currentContent.Add(-day)} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if !w.run(now, never) || len(w.secret.signers) != 1 {
				t.Error("the CA is not replaced immediately")
			}
		})
	}
}

func TestPlan_keyRemoved(t *testing.T) {
	w := newWorld(t)
	old := w.sign(currentContent)
	w.secret = secretContent{former: []*x509.Certificate{w.secret.signers[0].certificate}}
	removed := currentContent.Add(day)
	if !w.run(removed, never) || len(w.secret.signers) != 1 {
		t.Fatal("no CA was created")
	}
	if err := trusts(w.bundle, old, removed); err != nil {
		t.Errorf("the earlier certificate of the CA is not trusted: %v", err)
	}
	w.run(removed.Add(30*day), always)
	if contains(parseBundle(w.bundle).certificates(), old.issuer) {
		t.Error("the CA without a key is trusted forever")
	}
}

func TestPlan_foreignCAInTheSecret(t *testing.T) {
	unexpected := newWorld(t).secret.signers[0]
	for name, change := range map[string]func(*secretContent){
		"appended without its key":  func(c *secretContent) { c.former = append(c.former, unexpected.certificate) },
		"appended with its key":     func(c *secretContent) { c.signers = append(c.signers, unexpected) },
		"two, appended with a key":  func(c *secretContent) { c.signers = append(c.signers, unexpected, newWorld(t).secret.signers[0]) },
		"prepended without its key": func(c *secretContent) { c.former = []*x509.Certificate{unexpected.certificate} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := bytes.Clone(w.bundle)
			seen := observed{bundles: []bundle{parseBundle(w.bundle)}}
			if err := w.secret.checkOrigin(currentContent, seen); err != nil {
				t.Fatal(err)
			}
			change(&w.secret)
			if w.secret.checkOrigin(currentContent, seen) == nil {
				t.Error("the CA is not reported")
			}
			w.run(currentContent.Add(day), always)
			if !bytes.Equal(w.bundle, before) {
				t.Error("the CA is published")
			}
			if w.secret.trusts(unexpected.certificate) {
				t.Error("the CA stays in the Secret")
			}
		})
	}
}

func TestPlan_entriesOfOthersStayForOneServingLifetime(t *testing.T) {
	w := newWorld(t)
	theirs := othersBundle(t)
	w.bundle = theirs
	w.run(currentContent.Add(day), never)
	for _, after := range []time.Duration{0, time.Hour, 30*day - time.Second} {
		w.run(currentContent.Add(day).Add(after), always)
		if !bytes.HasSuffix(w.bundle, theirs) {
			t.Fatalf("after %s the entries of other clients have changed:\n%s", after, w.bundle)
		}
	}
	w.run(currentContent.Add(31*day), always)
	if got, want := parseBundle(w.bundle).certificates(), w.secret.published(); !slices.EqualFunc(got, want, (*x509.Certificate).Equal) {
		t.Errorf("after 30 days there are %d certificates, want %d", len(got), len(want))
	}
	// The time of an entry that comes back starts again.
	w.run(currentContent.Add(32*day), always)
	w.bundle = slices.Concat(w.bundle, theirs)
	want := bytes.Clone(w.bundle)
	w.run(currentContent.Add(40*day), always)
	w.run(currentContent.Add(69*day), always)
	if !bytes.Equal(w.bundle, want) {
		t.Error("an entry that came back was removed early")
	}
}

func TestPlan_configurationNotRead(t *testing.T) {
	w := newWorld(t)
	w.bundle = slices.Concat(w.bundle, othersBundle(t))
	w.run(currentContent, always)
	w.secret.former = []*x509.Certificate{newWorld(t).secret.signers[0].certificate}
	next, _, err := testPlanner().plan(w.secret, currentContent.Add(day), observed{incomplete: true}, never)
	if err != nil {
		t.Fatal(err)
	}
	if len(next.retired) != len(w.secret.retired) || len(next.retired) == 0 || len(next.former) != 1 {
		t.Errorf("%d records and %d former CAs, want %d and 1, because the caBundles are unknown", len(next.retired), len(next.former), len(w.secret.retired))
	}
	if next.checkOrigin(currentContent, observed{incomplete: true}) != nil || contains(next.published(), next.former[0]) {
		t.Error("a CA that may be published is reported as unexpected, or is published")
	}
}

func TestPlan_numberOfCAsIsBounded(t *testing.T) {
	w := newWorld(t)
	theirs := parseBundle(othersBundle(t)).certificates()
	w.bundle = slices.Concat(w.bundle, encode(theirs...))
	for n := range 3 * maxRetired {
		w.secret = secretContent{}
		w.run(currentContent.Add(time.Duration(n+1)*time.Minute), never)
	}
	all := parseBundle(w.bundle).certificates()
	if got, most := len(all), maxRetired+1+len(theirs); got > most {
		t.Errorf("%d certificates are trusted, want at most %d", got, most)
	}
	for _, certificate := range theirs {
		if !contains(all, certificate) {
			t.Error("a certificate of another client was removed")
		}
	}
}

func TestPlan_recordInTheFuture(t *testing.T) {
	w := newWorld(t)
	w.bundle = slices.Concat(w.bundle, othersBundle(t))
	w.run(currentContent, always)
	for entry := range w.secret.retired {
		w.secret.retired[entry] = currentContent.Add(1000 * day)
	}
	w.run(currentContent.Add(day), always)
	w.run(currentContent.Add(31*day), always)
	if got := len(parseBundle(w.bundle).entries); got != 1 {
		t.Errorf("the caBundle has %d entries, want 1", got)
	}
}

// TestPlan_noAPIServerMeetsWhatItDoesNotTrust simulates the lifetimes of five CAs. API
// servers see a caBundle with the longest delay that the planner allows for. There are
// two replicas. One reads the Secret continuously. The other serves the certificate
// that it signed until that expires.
func TestPlan_noAPIServerMeetsWhatItDoesNotTrust(t *testing.T) {
	p := newPlanner(service, 30*day, 3*day)
	const step = 30 * time.Minute
	type view struct {
		bundle []byte
		from   time.Time
	}
	var views []view
	var secret secretContent
	var encoded []byte
	var inTouch, lost *serving
	since := trustTracker{}
	created := 0
	for now := currentContent; now.Before(currentContent.Add(100 * day)); now = now.Add(step) {
		seen := observed{bundles: []bundle{parseBundle(encoded)}}
		since.observe(seen, now)
		published := func(ca *x509.Certificate) bool { return since.trustedFor(ca, now, p.publishAfter) }
		next, newCA, err := p.plan(secret, now, seen, published)
		if err != nil {
			t.Fatal(err)
		}
		if newCA {
			created++
		}
		secret = stored(t, next)
		encoded = seen.bundles[0].with(secret.published(), p.removes(secret, now))
		views = append(views, view{encoded, now})
		for len(views) > 1 && !views[1].from.After(now.Add(-p.publishAfter)) {
			views = views[1:]
		}
		for _, replica := range []**serving{&inTouch, &lost} {
			expired := *replica == nil || !valid((*replica).Leaf, now)
			if expired || replica == &inTouch && !now.Before((*replica).renewal) {
				if *replica, err = newServingCert(now, p.serving, p.names, secret.signers[0]); err != nil {
					t.Fatal(err)
				}
			}
			// The slowest API server and the fastest one.
			for _, v := range []view{views[0], views[len(views)-1]} {
				if err := trusts(v.bundle, *replica, now); err != nil {
					t.Fatalf("at %s: %v", now, err)
				}
			}
		}
	}
	if created != 5 {
		t.Errorf("got %d CAs in 100 days, want 5", created)
	}
}

func TestNewPlanner_publishAfter(t *testing.T) {
	for serving, want := range map[time.Duration]time.Duration{30 * day: time.Hour, 20 * time.Second: 2 * time.Second} {
		if got := newPlanner(service, 10*serving, serving).publishAfter; got != want {
			t.Errorf("serving certificates that live for %s: %s, want %s", serving, got, want)
		}
	}
}

func TestNewServing_expiresWithItsCA(t *testing.T) {
	ca, err := newAuthority(currentContent, day)
	if err != nil {
		t.Fatal(err)
	}
	made, err := newServingCert(currentContent, 2*day, []string{"name"}, ca)
	if err != nil {
		t.Fatal(err)
	}
	if !made.Leaf.NotAfter.Equal(ca.certificate.NotAfter) {
		t.Errorf("got expiry %s, want that of the CA, %s", made.Leaf.NotAfter, ca.certificate.NotAfter)
	}
	if got, want := made.renewal, currentContent.Add(16*time.Hour); !got.Equal(want) {
		t.Errorf("got renewal at %s, want %s", got, want)
	}
}

func TestPublication_breakStartsAnew(t *testing.T) {
	w := newWorld(t)
	ca := w.secret.signers[0].certificate
	p := trustTracker{}
	lasts := func(now time.Time) bool { return p.trustedFor(ca, now, time.Hour) }
	trusted, untrusted := parseBundle(w.bundle), parseBundle(othersBundle(t))
	p.observe(observed{bundles: []bundle{trusted, trusted}}, currentContent)
	if lasts(currentContent.Add(time.Hour-1)) || !lasts(currentContent.Add(time.Hour)) {
		t.Error("not published after an hour")
	}
	p.observe(observed{bundles: []bundle{trusted, untrusted}}, currentContent.Add(2*time.Hour))
	if lasts(currentContent.Add(2 * time.Hour)) {
		t.Error("published although one webhook lacks the CA")
	}
	p.observe(observed{bundles: []bundle{trusted}}, currentContent.Add(3*time.Hour))
	if lasts(currentContent.Add(3*time.Hour)) || !lasts(currentContent.Add(4*time.Hour)) {
		t.Error("an interruption does not restart the hour")
	}
}
