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

// readPath is that of one ServiceAccount.
var readPath = regexp.MustCompile(`^/api/v1/namespaces/[^/]+/serviceaccounts/[^/]+$`)

// delayProxy stands before an API server, answers reads of a ServiceAccount late, and
// counts how many of the same are under way at once.
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

// delayedRead is the key by which a request has the function that ends its read.
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

// begin counts a read, and returns what ends it.
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

// most is the greatest number of reads of one ServiceAccount that were under way at
// once.
func (l *delayProxy) most() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.atOnce
}

// delay holds an answer to a read back. The read ends before the answer goes on its
// way: who has it may begin the next at once.
func (l *delayProxy) delay(answer *http.Response) error {
	end, ok := answer.Request.Context().Value(delayedRead{}).(func())
	if !ok {
		return nil
	}
	defer end()
	return pause(answer.Request.Context(), l.late)
}
