package localsts

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

const (
	// discoveryTimeout is AWS's: "There's latency of more than 5 seconds" is among
	// the causes that its knowledge center names (iam-sts-invalididentitytoken).
	discoveryTimeout = 5 * time.Second
	// keyCacheTTL is how long keys are used without asking again. How long AWS does is
	// not documented.
	keyCacheTTL = 30 * time.Second
	// minRefreshInterval is the least time between two reads for the sake of an unknown key,
	// or after a failure, which anybody can bring about with any token.
	minRefreshInterval = time.Second
)

// keyCache remembers what issuers publish, each for a short time.
type keyCache struct {
	client *http.Client
	now    func() time.Time

	mu     sync.Mutex
	issued map[string]*cachedIssuer
}

// cachedIssuer is what one issuer has published.
type cachedIssuer struct {
	// reading is held by the one who reads: who comes meanwhile waits for that.
	reading sync.Mutex
	read    time.Time
	issuer  issuer.Issuer
	err     error
}

func newKeyCache(client *http.Client, now func() time.Time) *keyCache {
	limited := *client
	limited.Timeout = discoveryTimeout
	limited.Transport = httpsOnlyTransport{client.Transport}
	return &keyCache{client: &limited, now: now, issued: map[string]*cachedIssuer{}}
}

// of returns what an issuer publishes, read anew if that is no longer fresh, or if
// it lacks the key that a token names.
func (k *keyCache) of(ctx context.Context, url, keyID string) (issuer.Issuer, error) {
	k.mu.Lock()
	known := k.issued[url]
	if known == nil {
		known = &cachedIssuer{}
		k.issued[url] = known
	}
	k.mu.Unlock()

	known.reading.Lock()
	defer known.reading.Unlock()
	age := k.now().Sub(known.read)
	good := known.err == nil && (keyID == "" || len(known.issuer.Keys.Key(keyID)) > 0)
	if !known.read.IsZero() && (age < minRefreshInterval || good && age < keyCacheTTL) {
		return known.issuer, known.err
	}
	// Others wait for it, so it does not end with the one who asked.
	known.issuer, known.err = issuer.Discover(context.WithoutCancel(ctx), k.client, url)
	known.read = k.now()
	return known.issuer, known.err
}

// remove drops what is remembered of an issuer that is no provider any more.
func (k *keyCache) remove(url string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.issued, url)
}

// httpsOnlyTransport follows no issuer to a place without TLS, be it by a redirect or by its
// jwks_uri.
type httpsOnlyTransport struct{ next http.RoundTripper }

var errNoTLS = errors.New("keys are read over https only")

func (o httpsOnlyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s: %w", r.URL.Redacted(), errNoTLS)
	}
	next := o.next
	if next == nil {
		next = http.DefaultTransport
	}
	return next.RoundTrip(r)
}
