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

// maxConnections is the maximum number of open connections. An API server uses
// HTTP/1.1, so each of its requests in flight has its own connection. It has at most
// 600 requests in flight (--max-requests-inflight and --max-mutating-requests-inflight
// together), and keeps 25 idle connections. An idle connection takes about 30 KiB.
const maxConnections = 2000

// connTracker limits the number of open connections. It never rejects a new one:
// otherwise a client that opens connections and sends nothing could lock out the API
// server. It closes an existing connection instead, in the order of evictFirst.
type connTracker struct {
	limit  int
	logger *ratelimitedlog.Logger
	closed prometheus.Counter

	mu    sync.Mutex
	open  map[net.Conn]*trackedConn
	hosts map[string]*remoteHost
	// clock counts the changes of connections, to order them.
	clock uint64
}

// remoteHost is a client host with its number of open connections.
type remoteHost struct {
	name        string
	connections int
}

// trackedConn is the state of an open connection. The mutex of connTracker guards its
// fields.
type trackedConn struct {
	remoteHost *remoteHost
	// changed is the clock of connTracker when the connection last began or ended a
	// request.
	changed uint64
	active  bool
	// authorized reports whether the last admission request was from an authorized
	// client, and rejected whether it was from another one. A rejected connection
	// stays open for a moment, so that the client can read the reason.
	authorized, rejected bool
	// closing reports whether the server has sent its last response, so that the
	// connection lingers.
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
		Help: "Number of open connections to the port for admission requests. The limit is 2000.",
	}, func() float64 {
		c.mu.Lock()
		defer c.mu.Unlock()
		return float64(len(c.open))
	}))
	return c
}

// connContext records a new connection before anything is read from it, and closes
// another one if the limit is reached. It has the signature of
// http.Server.ConnContext.
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
	from.connections++
	c.clock++
	opened := &trackedConn{remoteHost: from, changed: c.clock}
	c.open[conn] = opened
	if bounded := limitedConnOf(conn); bounded != nil {
		bounded.closing = func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			opened.closing = true
		}
	}
	return context.WithValue(ctx, peerKey{}, &clientState{trackedConn: opened})
}

// connState records the new state of a connection. It has the signature of
// http.Server.ConnState.
func (c *connTracker) connState(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.open[conn]
	if known == nil {
		return // closed by evict
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
		known.changed, known.active = c.clock, active
	}
}

// setAuthorized records whether the client of a connection may send admission requests.
// It does nothing if conn is nil.
func (c *connTracker) setAuthorized(conn *trackedConn, authorized bool) {
	if conn == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	conn.authorized, conn.rejected = authorized, !authorized
}

func (c *connTracker) remove(conn net.Conn, known *trackedConn) {
	delete(c.open, conn)
	if known.remoteHost.connections--; known.remoteHost.connections == 0 {
		delete(c.hosts, known.remoteHost.name)
	}
}

// evict closes the connection that is first in the order of evictFirst.
func (c *connTracker) evict(ctx context.Context) {
	var victim net.Conn
	var state *trackedConn
	for conn, known := range c.open {
		if state == nil || c.evictFirst(known, state) {
			victim, state = conn, known
		}
	}
	if victim == nil {
		return
	}
	c.logger.Log(ctx, slog.LevelWarn, "Connection limit reached, closing the least useful connection", "connections",
		"limit", c.limit, "host", state.remoteHost.name, "connectionsOfHost", state.remoteHost.connections)
	c.remove(victim, state)
	c.closed.Inc()
	// Close below TLS: tls.Conn.Close would wait until the client accepts its alert.
	if overTLS, ok := victim.(*tls.Conn); ok {
		victim = overTLS.NetConn()
	}
	if bounded, ok := victim.(*limitedConn); ok {
		victim = bounded.Conn // this one does not linger
	}
	_ = victim.Close()
}

// evictFirst reports whether to close a before b. The order is:
//
//  1. a connection that lingers
//  2. one whose client was rejected
//  3. one without an authorized admission request
//  4. one of a host that has more than half of the connection limit, so that one host
//     cannot displace the others
//  5. an idle one
//  6. one of the host with the most connections
//  7. the one whose state changed longest ago
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
	case a.remoteHost.connections != b.remoteHost.connections:
		return a.remoteHost.connections > b.remoteHost.connections
	default:
		return a.changed < b.changed
	}
}

func (c *connTracker) overFairShare(h *remoteHost) bool { return h.connections > c.limit/2 }

// hostOf returns the host of a network address, or the address if it has no port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}
