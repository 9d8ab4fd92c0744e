package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// readPath matches the path of a read of one ServiceAccount.
var readPath = regexp.MustCompile(`^/api/v1/namespaces/[^/]+/serviceaccounts/[^/]+$`)

// delayProxy is a proxy for an API server that delays reads of a ServiceAccount. It
// counts the concurrent reads of the same ServiceAccount.
type delayProxy struct {
	late     time.Duration
	listener net.Listener
	server   *http.Server
	served   sync.WaitGroup
	ahead    *http.Transport

	mu       sync.Mutex
	underWay map[string]int
	atOnce   int
}

// delayedRead is the context key of the function that ends a request's read.
type delayedRead struct{}

func startDelayProxy(ctx context.Context, late time.Duration, certificate certificate, config *rest.Config) (*delayProxy, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(config.CAData)
	l := &delayProxy{
		late: late, underWay: map[string]int{},
		ahead: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true},
	}
	if l.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return nil, err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:      l.ahead,
		ModifyResponse: l.delay,
	}
	l.server = &http.Server{ReadHeaderTimeout: requestTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && readPath.MatchString(r.URL.Path) {
			end := l.begin(r.URL.Path)
			defer end()
			r = r.WithContext(context.WithValue(r.Context(), delayedRead{}, end))
		}
		proxy.ServeHTTP(w, r)
	})}
	l.served.Go(func() { _ = l.server.ServeTLS(l.listener, certificate.file, certificate.key) })
	return l, nil
}

func (l *delayProxy) address() string { return l.listener.Addr().String() }

func (l *delayProxy) close() error {
	err := l.server.Close()
	l.served.Wait()
	l.ahead.CloseIdleConnections()
	return err
}

// begin counts a read and returns the function that ends it.
func (l *delayProxy) begin(path string) func() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay[path]++
	l.atOnce = max(l.atOnce, l.underWay[path])
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.underWay[path]--
	})
}

// most returns the maximum number of concurrent reads of one ServiceAccount.
func (l *delayProxy) most() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.atOnce
}

// delay delays the response of a read. It ends the read before it sends the response,
// because the client may start the next read as soon as it has the response.
func (l *delayProxy) delay(answer *http.Response) error {
	end, ok := answer.Request.Context().Value(delayedRead{}).(func())
	if !ok {
		return nil
	}
	defer end()
	return pause(answer.Request.Context(), l.late)
}
