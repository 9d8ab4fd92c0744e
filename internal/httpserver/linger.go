package httpserver

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// lingerTimeout is the maximum time to read from a closed connection. It is the
	// time that a whole body may take.
	lingerTimeout = bodyTimeout
	// maxLingerBytes is the maximum number of bytes to read from a closed connection.
	// TLS records and chunks add to the bytes of a body at the limit.
	maxLingerBytes = 2 * MaxBodyBytes
)

// linger is the setting that the connections of a server share.
type linger struct {
	// off makes connections close immediately, because the server must stop.
	off atomic.Bool
}

// lingeringConn is a connection that the server closes without losing what it has
// written. A client whose request was rejected may still be sending it. If the server
// closed the connection then, the client's kernel would drop the response that the
// client has not read yet (RFC 9112, section 9.6). So Close ends the server's
// direction first, and discards what the client sends until it has closed its own.
// The discarded bytes are not decrypted.
//
// net/http only waits for half a second after some rejections, and reads nothing.
type lingeringConn struct {
	net.Conn
	linger *linger
	// closing is called before the connection lingers, if it is not nil.
	closing func()
	// idle reports whether no request is in progress, so that no response can be lost.
	idle atomic.Bool
}

// Close closes the connection. It lingers first, unless the connection is idle or the
// server must stop.
func (l *lingeringConn) Close() error {
	if tcp, ok := l.Conn.(*net.TCPConn); ok && !l.idle.Load() && !l.linger.off.Load() && tcp.CloseWrite() == nil {
		if l.closing != nil {
			l.closing()
		}
		_ = tcp.SetReadDeadline(time.Now().Add(lingerTimeout))
		_, _ = io.CopyN(io.Discard, tcp, maxLingerBytes)
	}
	return l.Conn.Close()
}

// lingeringListener is a listener of connections that linger.
type lingeringListener struct {
	net.Listener
	linger *linger
}

func (l lingeringListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http inspects the error
	}
	return &lingeringConn{Conn: conn, linger: l.linger}, nil
}

// lingerUnlessIdle records whether a connection is idle. It has the signature of
// http.Server.ConnState.
func lingerUnlessIdle(conn net.Conn, state http.ConnState) {
	if lingering, ok := conn.(*lingeringConn); ok {
		lingering.idle.Store(state == http.StateIdle)
	}
}
