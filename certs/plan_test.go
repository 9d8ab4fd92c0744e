package certs

import (
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

var service = types.NamespacedName{Namespace: "aws", Name: "webhook"}

const day = 24 * time.Hour

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func always(*x509.Certificate) bool { return true }
func never(*x509.Certificate) bool  { return false }

// only returns what says that the CAs of c are published, and no other.
func only(c content) func(*x509.Certificate) bool {
	return func(ca *x509.Certificate) bool { return contains(c.authorities, ca) }
}

func testPlanner() planner { return newPlanner(service, 365*day, 30*day) }

// planned returns what the plan makes of c, and fails the test if that could not
// be stored and used.
func planned(t *testing.T, c content, now time.Time, published func(*x509.Certificate) bool) (content, []change) {
	t.Helper()
	p := testPlanner()
	next, changes, err := p.plan(c, now, published)
	if err != nil {
		t.Fatal(err)
	}
	data, err := next.data()
	if err != nil {
		t.Fatal(err)
	}
	stored, err := parse(data, p.names)
	if err != nil {
		t.Fatal(err)
	}
	if err := trusts(stored.bundle(), stored, now); err != nil {
		t.Errorf("the serving certificate is not trusted: %v", err)
	}
	if stored.signer == nil || !valid(stored.authorities[0], now) {
		t.Error("nothing can be signed")
	}
	return stored, changes
}

// trusts is what an API server with the caBundle does.
func trusts(bundle []byte, served content, now time.Time) error {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(bundle)
	_, err := served.serving.Leaf.Verify(x509.VerifyOptions{
		Roots: roots, DNSName: "webhook.aws.svc", CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	return err
}

func wantChanges(t *testing.T, got []change, want ...change) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("made %v, want %v", got, want)
	}
}

func TestTheFirstPlanMakesAll(t *testing.T) {
	c, changes := planned(t, content{}, start, never)
	wantChanges(t, changes, newAuthority, newCertificate)
	if got, want := c.authorities[0].NotAfter, start.Add(365*day); !got.Equal(want) {
		t.Errorf("the CA ends at %s, want %s", got, want)
	}
	if got, want := c.serving.Leaf.NotAfter, start.Add(30*day); !got.Equal(want) {
		t.Errorf("the serving certificate ends at %s, want %s", got, want)
	}
	for _, certificate := range []*x509.Certificate{c.authorities[0], c.serving.Leaf} {
		if certificate.PublicKeyAlgorithm != x509.ECDSA || certificate.SerialNumber.Sign() <= 0 {
			t.Errorf("%s: %s, serial number %s", certificate.Subject, certificate.PublicKeyAlgorithm, certificate.SerialNumber)
		}
	}
	_, changes = planned(t, c, start.Add(day), never)
	wantChanges(t, changes)
}

func TestTheServingCertificateIsReplacedAtTwoThirds(t *testing.T) {
	c, _ := planned(t, content{}, start, never)
	// Whether its CA is published does not matter: it is in use.
	for _, published := range []func(*x509.Certificate) bool{always, never} {
		_, changes := planned(t, c, start.Add(20*day-time.Second), published)
		wantChanges(t, changes)
		_, changes = planned(t, c, start.Add(20*day), published)
		wantChanges(t, changes, newCertificate)
	}
}

func TestANewCASignsNothingUntilItIsPublished(t *testing.T) {
	c, _ := planned(t, content{}, start, never)
	old := c.authorities[0]
	now := start.Add(365 * day * 2 / 3)

	c, changes := planned(t, c, now, only(c))
	wantChanges(t, changes, newCertificate, newAuthority)
	if len(c.authorities) != 2 || !c.authorities[1].Equal(old) || !c.issuer().Equal(old) {
		t.Fatal("the old CA does not go on beside the new one")
	}
	c, changes = planned(t, c, now.Add(time.Hour), never)
	wantChanges(t, changes)
	c, changes = planned(t, c, now.Add(time.Hour), always)
	wantChanges(t, changes, newCertificate)
	if !c.issuer().Equal(c.authorities[0]) || len(c.authorities) != 2 {
		t.Fatal("the new CA does not take over with the old one still trusted")
	}
	c, _ = planned(t, c, now.Add(30*day-time.Second), always)
	if len(c.authorities) != 2 {
		t.Error("the old CA is dropped while a replica may serve its last certificate")
	}
	c, _ = planned(t, c, now.Add(30*day), always)
	if len(c.authorities) != 1 {
		t.Error("the old CA is not dropped")
	}
}

func TestWhatHasRunOutIsReplacedAtOnce(t *testing.T) {
	c, _ := planned(t, content{}, start, never)
	_, changes := planned(t, c, start.Add(31*day), never)
	wantChanges(t, changes, newCertificate)
	after, changes := planned(t, c, start.Add(400*day), never)
	wantChanges(t, changes, newAuthority, newCertificate)
	if len(after.authorities) != 1 {
		t.Error("a CA that has run out is still trusted")
	}
}

func TestWhatIsNotValidYetIsReplacedAtOnce(t *testing.T) {
	c, _ := planned(t, content{}, start.Add(2*365*day), never)
	_, changes := planned(t, c, start, never)
	wantChanges(t, changes, newAuthority, newCertificate)
}

func TestACAWithoutItsKeyIsReplacedInOrder(t *testing.T) {
	c, _ := planned(t, content{}, start, never)
	old := c.serving.Leaf
	c.signer = nil
	c, changes := planned(t, c, start.Add(day), only(c))
	wantChanges(t, changes, newAuthority)
	if !c.serving.Leaf.Equal(old) {
		t.Error("the serving certificate was replaced before the new CA was published")
	}
	_, changes = planned(t, c, start.Add(2*day), always)
	wantChanges(t, changes, newCertificate)
}

func TestTheNumberOfCAsIsBounded(t *testing.T) {
	c, _ := planned(t, content{}, start, never)
	serving := c.serving.Leaf
	for range 3 * maxAuthorities {
		c.signer = nil
		c, _ = planned(t, c, start, never)
	}
	if len(c.authorities) > maxAuthorities+1 {
		t.Errorf("%d CAs", len(c.authorities))
	}
	if !c.serving.Leaf.Equal(serving) {
		t.Error("the certificate in use was dropped")
	}
}

// TestNoAPIServerEverMeetsWhatItDoesNotTrust plays the lives of five CAs, with API servers that see a caBundle as late as is allowed for, and a replica that
// serves what it once read for as long as that is valid.
func TestNoAPIServerEverMeetsWhatItDoesNotTrust(t *testing.T) {
	p := newPlanner(service, 30*day, 3*day)
	const step = 30 * time.Minute
	type view struct {
		bundle []byte
		from   time.Time
	}
	var seen []view
	var stored, lost content
	since := map[string]time.Time{}
	made := map[change]int{}
	for now := start; now.Before(start.Add(100 * day)); now = now.Add(step) {
		for _, ca := range stored.authorities {
			if _, known := since[string(ca.Raw)]; !known {
				since[string(ca.Raw)] = now
			}
		}
		next, changes, err := p.plan(stored, now, func(ca *x509.Certificate) bool {
			first, known := since[string(ca.Raw)]
			return known && now.Sub(first) >= p.publishAfter
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, change := range changes {
			made[change]++
		}
		stored = next
		seen = append(seen, view{stored.bundle(), now})
		for len(seen) > 1 && !seen[1].from.After(now.Add(-p.publishAfter)) {
			seen = seen[1:]
		}
		if lost.serving == nil || !valid(lost.serving.Leaf, now) {
			lost = stored
		}
		for _, replica := range []content{stored, lost} {
			// The API server that is the latest, and the one that is the first.
			for _, v := range []view{seen[0], seen[len(seen)-1]} {
				if err := trusts(v.bundle, replica, now); err != nil {
					t.Fatalf("at %s: %v", now, err)
				}
			}
		}
	}
	if made[newAuthority] != 5 || made[newCertificate] < 50 {
		t.Errorf("made %v in 100 days", made)
	}
}

func TestACAThatIsReplacedBeforeItIsPublishedSignsNothing(t *testing.T) {
	first, _ := planned(t, content{}, start, never)
	first.signer = nil
	second, _ := planned(t, first, start, only(first))
	c, changes := planned(t, second, start.Add(364*day*2/3+day), never)
	// Nobody trusts the second CA, so it must not sign what bridges to the third.
	wantChanges(t, changes, newAuthority, newCertificate)
	if !c.issuer().Equal(c.authorities[0]) {
		t.Error("the second CA has signed")
	}
}

func TestAnHourIsAllowedForAPIServersThatLag(t *testing.T) {
	for serving, want := range map[time.Duration]time.Duration{30 * day: time.Hour, 20 * time.Second: 2 * time.Second} {
		if got := newPlanner(service, 10*serving, serving).publishAfter; got != want {
			t.Errorf("serving certificates that live for %s: %s, want %s", serving, got, want)
		}
	}
}

func TestAServingCertificateEndsWithItsCA(t *testing.T) {
	ca, key, err := newCA(start, day)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := newServing(start, 2*day, []string{"name"}, ca, key)
	if err != nil {
		t.Fatal(err)
	}
	if !serving.Leaf.NotAfter.Equal(ca.NotAfter) {
		t.Errorf("it ends at %s, its CA at %s", serving.Leaf.NotAfter, ca.NotAfter)
	}
}

func TestACAIsPublishedFromWhenAllTrustItWithoutABreak(t *testing.T) {
	c, _ := planned(t, content{}, start, never)
	ca := c.authorities[0]
	p := publication{}
	lasts := func(now time.Time) bool { return p.lasts(ca, now, time.Hour) }
	p.see(c.authorities, start)
	if lasts(start.Add(time.Hour-1)) || !lasts(start.Add(time.Hour)) {
		t.Error("not from an hour on")
	}
	p.see(nil, start.Add(2*time.Hour))
	p.see(c.authorities, start.Add(3*time.Hour))
	if lasts(start.Add(3*time.Hour)) || !lasts(start.Add(4*time.Hour)) {
		t.Error("a break does not begin the hour anew")
	}
}
