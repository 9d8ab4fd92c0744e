package httpserver

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
)

// conn is a connection from a host. It records whether it was closed.
type conn struct {
	net.Conn
	remoteHost string
	closed     bool
}

func (c *conn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.ParseIP(c.remoteHost), Port: 1} }

func (c *conn) Close() error {
	c.closed = true
	return nil
}

// TestConnTracker_evictionOrder opens one connection more than the limit.
func TestConnTracker_evictionOrder(t *testing.T) {
	const unknown, other, server = "10.0.0.1", "10.0.0.2", "10.0.0.3"
	for name, test := range map[string]struct {
		hosts      []string
		active     []int
		idle       []int
		authorized []int
		rejected   []int
		closed     int
	}{
		"the oldest":                                         {hosts: []string{unknown, unknown, unknown}, closed: 0},
		"one of the host with the most":                      {hosts: []string{server, unknown, unknown}, closed: 1},
		"an idle one before an active one":                   {hosts: []string{unknown, unknown, unknown}, active: []int{0, 2}, idle: []int{1}, closed: 1},
		"an active one of the host with the most":            {hosts: []string{server, unknown, unknown, other}, active: []int{0, 1, 2, 3}, closed: 1},
		"an idle one of a smaller host before an active one": {hosts: []string{server, server, server, unknown, unknown, other}, active: []int{0, 1, 2, 3}, closed: 4},
		"an active one of the host with more than half":      {hosts: []string{server, unknown, unknown, unknown}, active: []int{1, 2, 3}, idle: []int{0}, closed: 1},
		"an unauthenticated one before an authorized one":    {hosts: []string{server, server, unknown}, authorized: []int{0, 1}, active: []int{2}, closed: 2},
		"a rejected one before any other":                    {hosts: []string{unknown, unknown, unknown, other}, active: []int{0, 3}, rejected: []int{3}, closed: 3},
		"an authorized one if there are no others":           {hosts: []string{server, server, other}, authorized: []int{0, 1, 2}, active: []int{0}, closed: 1},
		"the one that has been active for the longest":       {hosts: []string{unknown, unknown, unknown}, active: []int{2, 1, 0}, closed: 2},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			connections := newConnTracker(len(test.hosts), ratelimitedlog.New(slog.New(slog.DiscardHandler)), registry)
			var open []*conn
			for _, host := range test.hosts {
				c := &conn{remoteHost: host}
				connections.connContext(t.Context(), c)
				open = append(open, c)
			}
			for _, i := range test.active {
				connections.connState(open[i], http.StateActive)
			}
			for _, i := range test.idle {
				connections.connState(open[i], http.StateIdle)
			}
			for _, i := range test.authorized {
				connections.setAuthorized(connections.open[open[i]], true)
			}
			for _, i := range test.rejected {
				connections.setAuthorized(connections.open[open[i]], false)
			}
			connections.connContext(t.Context(), &conn{remoteHost: other})
			for i, c := range open {
				if c.closed != (i == test.closed) {
					t.Errorf("connection %d of %s: got closed %t, want %t", i, c.remoteHost, c.closed, i == test.closed)
				}
			}
			// The server also reports the state of the closed connection.
			connections.connState(open[test.closed], http.StateClosed)
			if len(connections.open) != len(test.hosts) {
				t.Errorf("got %d open connections", len(connections.open))
			}
		})
	}
}

func TestConnTracker_closedConnections(t *testing.T) {
	connections := newConnTracker(2, ratelimitedlog.New(slog.New(slog.DiscardHandler)), prometheus.NewRegistry())
	kept := &conn{remoteHost: "10.0.0.1"}
	connections.connContext(t.Context(), kept)
	for range 10 {
		c := &conn{remoteHost: "10.0.0.1"}
		connections.connContext(t.Context(), c)
		connections.connState(c, http.StateClosed)
	}
	if kept.closed || len(connections.open) != 1 || connections.hosts["10.0.0.1"].connections != 1 {
		t.Errorf("closed %t, open %d, hosts %v", kept.closed, len(connections.open), connections.hosts)
	}
}

// BenchmarkTooManyConnections measures the cost of one connection above the limit.
func BenchmarkTooManyConnections(b *testing.B) {
	connections := newConnTracker(maxConnections, ratelimitedlog.New(slog.New(slog.DiscardHandler)), prometheus.NewRegistry())
	for i := 0; b.Loop(); i++ {
		connections.connContext(b.Context(), &conn{remoteHost: fmt.Sprintf("10.0.0.%d", i%256)})
	}
}
