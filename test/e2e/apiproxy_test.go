package e2e_test

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// apiProxy is a proxy between a webhook and the API server, with fault injection.
type apiProxy struct {
	server *httptest.Server

	mu sync.Mutex
	// faults respond to requests in place of the API server.
	faults map[requestKind]http.HandlerFunc
	// frozen is closed when watches may continue; nil if they are not frozen.
	frozen chan struct{}
	// cut is closed to end all open watches.
	cut chan struct{}
}

// requestKind is the verb and resource of a request.
type requestKind string

const (
	getRequest   requestKind = "get"
	listRequest  requestKind = "list"
	watchRequest requestKind = "watch"
)

// newAPIProxy starts a proxy and stops it at the end of the test.
func newAPIProxy(t *testing.T) *apiProxy {
	t.Helper()
	p := &apiProxy{faults: map[requestKind]http.HandlerFunc{}, cut: make(chan struct{})}
	config := rest.AnonymousClientConfig(cluster.Config())
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(config.Host)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1, // flush every event of a watch
		ModifyResponse: func(response *http.Response) error {
			if kindOf(response.Request) == watchRequest {
				response.Body = p.watched(response)
			}
			return nil
		},
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		fault := p.faults[kindOf(r)]
		p.mu.Unlock()
		if fault != nil {
			fault(w, r)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	p.server.EnableHTTP2 = true // which API servers speak with client-go
	p.server.StartTLS()
	t.Cleanup(func() {
		p.thaw()
		p.cutWatches()
		p.server.CloseClientConnections()
		p.server.Close()
	})
	return p
}

// kubeconfig writes a kubeconfig for a webhook with these flags. The webhook reaches
// the API server through the proxy and has the chart's permissions.
func (p *apiProxy) kubeconfig(t *testing.T, args ...string) string {
	t.Helper()
	config, err := webhookprocess.ChartConfig(t.Context(), cluster, args...)
	if err != nil {
		t.Fatal(err)
	}
	config.Host = p.server.URL
	config.CAData = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := controlplane.WriteKubeconfig(path, config); err != nil {
		t.Fatal(err)
	}
	return path
}

// fail makes the fault respond to requests of the kinds; nil removes the fault.
func (p *apiProxy) fail(fault http.HandlerFunc, kinds ...requestKind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kind := range kinds {
		p.faults[kind] = fault
	}
}

// freeze stops forwarding events to open and new watches. Their connections stay open.
func (p *apiProxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen == nil {
		p.frozen = make(chan struct{})
	}
}

// thaw ends freeze.
func (p *apiProxy) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.frozen != nil {
		close(p.frozen)
		p.frozen = nil
	}
}

// cutWatches ends all open watches.
func (p *apiProxy) cutWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.cut)
	p.cut = make(chan struct{})
}

// watched returns the body of a watch that freeze and cutWatches affect.
func (p *apiProxy) watched(response *http.Response) io.ReadCloser {
	p.mu.Lock()
	cut := p.cut
	p.mu.Unlock()
	ended := make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })
	go func() {
		select {
		case <-cut:
		case <-ended:
		}
		_ = response.Body.Close()
	}()
	return &watchBody{ReadCloser: response.Body, proxy: p, ended: ended, end: end, cut: cut}
}

type watchBody struct {
	io.ReadCloser
	proxy      *apiProxy
	ended, cut chan struct{}
	end        func()
}

// Read returns data from the API server. It blocks while the watch is frozen.
func (b *watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.proxy.mu.Lock()
	frozen := b.proxy.frozen
	b.proxy.mu.Unlock()
	if frozen != nil {
		select {
		case <-frozen:
		case <-b.cut:
			return 0, io.ErrUnexpectedEOF
		case <-b.ended:
			return 0, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// Close ends the watch at the API server.
func (b *watchBody) Close() error {
	b.end()
	return b.ReadCloser.Close()
}

func kindOf(r *http.Request) requestKind {
	switch query := r.URL.Query(); {
	case r.Method != http.MethodGet:
		return ""
	case query.Get("watch") == "true" || query.Get("watch") == "1":
		return watchRequest
	case r.URL.Path == "/api/v1/serviceaccounts" || r.URL.Path == "/api/v1/namespaces":
		return listRequest
	default:
		return getRequest
	}
}

// forbidden responds like an API server to a client without the permission.
func forbidden(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"no permission"}`)
}

// hanging sends no response until the client gives up.
func hanging(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
