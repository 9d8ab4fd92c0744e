package httpserver

import (
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// lingerTimeout is how long a closed connection is read at most. The rest of a
	// body has as long as the body.
	lingerTimeout = bodyTimeout
	// maxLingerBytes is how much of it is read at most. A body at the limit has more
	// bytes on its way, by TLS records and chunks.
	maxLingerBytes = 2 * MaxBodyBytes
)

// linger is shared by the connections of a server.
type linger struct {
	// off is set to close connections at once, when the server must end.
	off atomic.Bool
}

// lingeringConn is a connection that the server closes without losing what it has
// written. A client whose request was refused may still be sending it. If the server
// closed the connection then, the client's kernel would drop the response that the
// client has not read yet (RFC 9112, section 9.6), so Close ends the server's
// direction first, and discards what the client sends until it has closed its own.
// The discarded bytes are not decrypted.
//
// net/http waits for half a second instead, after some refusals, and reads nothing.
type lingeringConn struct {
	net.Conn
	linger *linger
	// closing is called before the connection lingers, if it is not nil.
	closing func()
	// idle says that no request is in progress, so that there is nothing to lose.
	idle atomic.Bool
}

// Close lingers, unless the connection is idle or the server must end.
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

// lingeringListener is one whose connections linger.
type lingeringListener struct {
	net.Listener
	linger *linger
}

func (l lingeringListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http looks at what it is
	}
	return &lingeringConn{Conn: conn, linger: l.linger}, nil
}

// lingerUnlessIdle is made for http.Server.ConnState.
func lingerUnlessIdle(conn net.Conn, state http.ConnState) {
	if lingering, ok := conn.(*lingeringConn); ok {
		lingering.idle.Store(state == http.StateIdle)
	}
}
