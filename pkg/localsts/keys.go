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
	// discoveryTimeout is AWS's timeout: its knowledge center lists "There's latency of
	// more than 5 seconds" as a cause (iam-sts-invalididentitytoken).
	discoveryTimeout = 5 * time.Second
	// keyCacheTTL is how long keys stay in the cache. AWS does not document its own time.
	keyCacheTTL = 30 * time.Second
	// minRefreshInterval is the minimum time between two reads that are caused by an unknown
	// key or follow a failed read. Any client can cause these reads, with any token.
	minRefreshInterval = time.Second
)

// keyCache caches the published documents of issuers for keyCacheTTL.
type keyCache struct {
	client *http.Client
	now    func() time.Time

	mu      sync.Mutex
	issuers map[string]*cachedIssuer
}

// cachedIssuer holds the published documents of one issuer.
type cachedIssuer struct {
	// mu is locked during a read, so that concurrent callers wait for its result.
	mu sync.Mutex
	// lastRead is the time of the last read, successful or not.
	lastRead time.Time
	issuer   issuer.Issuer
	err      error
}

func newKeyCache(client *http.Client, now func() time.Time) *keyCache {
	limited := *client
	limited.Timeout = discoveryTimeout
	limited.Transport = httpsOnlyTransport{client.Transport}
	return &keyCache{client: &limited, now: now, issuers: map[string]*cachedIssuer{}}
}

// get returns the published documents of the issuer at url. It reads them again in three
// cases: they are older than keyCacheTTL, the last read failed, or they do not contain the
// key keyID. Within minRefreshInterval after a read, it returns the result of that read. It
// returns an error if the last read failed.
func (k *keyCache) get(ctx context.Context, url, keyID string) (issuer.Issuer, error) {
	k.mu.Lock()
	cached := k.issuers[url]
	if cached == nil {
		cached = &cachedIssuer{}
		k.issuers[url] = cached
	}
	k.mu.Unlock()

	cached.mu.Lock()
	defer cached.mu.Unlock()
	age := k.now().Sub(cached.lastRead)
	usable := cached.err == nil && (keyID == "" || len(cached.issuer.Keys.Key(keyID)) > 0)
	if !cached.lastRead.IsZero() && (age < minRefreshInterval || usable && age < keyCacheTTL) {
		return cached.issuer, cached.err
	}
	// Other callers wait for this read, so the context of this caller must not cancel it.
	cached.issuer, cached.err = issuer.Discover(context.WithoutCancel(ctx), k.client, url)
	cached.lastRead = k.now()
	return cached.issuer, cached.err
}

// remove deletes the cached documents of an issuer whose provider was deleted.
func (k *keyCache) remove(url string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.issuers, url)
}

// httpsOnlyTransport rejects requests that do not use HTTPS. An issuer could otherwise
// cause them by a redirect or by its jwks_uri.
type httpsOnlyTransport struct{ next http.RoundTripper }

var errNoTLS = errors.New("not an https URL")

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
