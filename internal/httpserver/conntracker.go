package httpserver

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
)

// maxConnections bounds those that are open at once. An API server asks over
// HTTP/1.1, so each of its requests under way has a connection of its own: at
// most as many as it has requests (--max-requests-inflight and
// --max-mutating-requests-inflight, 600 together), of which it keeps 25 when
// idle. An idle connection takes some 30 KiB.
const maxConnections = 2000

// connTracker bounds how many there are, and never by keeping a new one out: who
// opens them and does nothing would keep the API server out too. It closes one
// that is of less use.
type connTracker struct {
	limit  int
	logger *ratelimitedlog.Logger
	closed prometheus.Counter

	mu    sync.Mutex
	open  map[net.Conn]*trackedConn
	hosts map[string]*remoteHost
	clock uint64
}

// remoteHost is where connections come from.
type remoteHost struct {
	name        string
	connTracker int
}

// trackedConn is what is known of one that is open. Its fields are guarded by the
// mutex of connections.
type trackedConn struct {
	remoteHost *remoteHost
	// connState is when it last began or ended a request, by the clock of connections.
	connState uint64
	active    bool
	// authorized says that an admission request came over it from who may ask, refused
	// that one came from who may not. The latter stays for a moment, for the client to
	// read why.
	authorized, rejected bool
	// closing says that it has its last response, and lingers.
	closing bool
}

func newConnTracker(limit int, logger *ratelimitedlog.Logger, registry prometheus.Registerer) *connTracker {
	c := &connTracker{
		limit: limit, logger: logger,
		closed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "pod_identity_webhook_connections_closed_total",
			Help: "Number of connections closed because the connection limit was reached. If it rises, a client opens more connections than API servers do.",
		}),
		open: map[net.Conn]*trackedConn{}, hosts: map[string]*remoteHost{},
	}
	registry.MustRegister(c.closed, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_connections",
		Help: "Connections to the port for admission requests that are open.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(len(c.open))
	}))
	return c
}

// connContext is made for http.Server.ConnContext: it takes note of a connection
// before anything is read from it.
func (c *connTracker) connContext(ctx context.Context, conn net.Conn) context.Context {
	name := hostOf(conn.RemoteAddr().String())
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.open) >= c.limit {
		c.evict(ctx)
	}
	from := c.hosts[name]
	if from == nil {
		from = &remoteHost{name: name}
		c.hosts[name] = from
	}
	from.connTracker++
	c.clock++
	opened := &trackedConn{remoteHost: from, connState: c.clock}
	c.open[conn] = opened
	if bounded := boundedOf(conn); bounded != nil {
		bounded.closing = func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			opened.closing = true
		}
	}
	return context.WithValue(ctx, peerKey{}, &clientState{trackedConn: opened})
}

// connState is made for http.Server.ConnState.
func (c *connTracker) connState(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.open[conn]
	if known == nil {
		return // closed by closeOne
	}
	switch state {
	case http.StateClosed, http.StateHijacked:
		c.remove(conn, known)
	default:
		active := state == http.StateActive
		if state != http.StateNew {
			setReadLimit(conn, active)
		}
		c.clock++
		known.connState, known.active = c.clock, active
	}
}

// setAuthorized keeps the connection from being closed for others, or, if its client may not
// ask, has it closed before others. It may be nil.
func (c *connTracker) setAuthorized(judged *trackedConn, mayAsk bool) {
	if judged == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	judged.authorized, judged.rejected = mayAsk, !mayAsk
}

func (c *connTracker) remove(conn net.Conn, known *trackedConn) {
	delete(c.open, conn)
	if known.remoteHost.connTracker--; known.remoteHost.connTracker == 0 {
		delete(c.hosts, known.remoteHost.name)
	}
}

// evict closes the connection that is of the least use.
func (c *connTracker) evict(ctx context.Context) {
	var victim net.Conn
	var least *trackedConn
	for conn, known := range c.open {
		if least == nil || c.evictFirst(known, least) {
			victim, least = conn, known
		}
	}
	if victim == nil {
		return
	}
	c.logger.Log(ctx, slog.LevelWarn, "too many connections, the one of least use is closed", "connections",
		"limit", c.limit, "host", least.remoteHost.name, "ofHost", least.remoteHost.connTracker)
	c.remove(victim, least)
	c.closed.Inc()
	// Not by TLS, which would wait for the client to take its goodbye.
	if overTLS, ok := victim.(*tls.Conn); ok {
		victim = overTLS.NetConn()
	}
	if bounded, ok := victim.(*limitedConn); ok {
		victim = bounded.Conn // which does not linger
	}
	_ = victim.Close()
}

// evictFirst says whether a is of less use than b: one that lingers is of the least,
// then one that was refused, a stranger's is of less than an API server's, then that of a host with more than half of all, so that one
// cannot crowd out the others, then an idle one, then that of the host with the
// most, then the one that has been so for longer.
func (c *connTracker) evictFirst(a, b *trackedConn) bool {
	switch {
	case a.closing != b.closing:
		return a.closing
	case a.rejected != b.rejected:
		return a.rejected
	case a.authorized != b.authorized:
		return b.authorized
	case c.overFairShare(a.remoteHost) != c.overFairShare(b.remoteHost):
		return c.overFairShare(a.remoteHost)
	case a.active != b.active:
		return b.active
	case a.remoteHost.connTracker != b.remoteHost.connTracker:
		return a.remoteHost.connTracker > b.remoteHost.connTracker
	default:
		return a.connState < b.connState
	}
}

func (c *connTracker) overFairShare(h *remoteHost) bool { return h.connTracker > c.limit/2 }

// hostOf returns the host of a network address.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
