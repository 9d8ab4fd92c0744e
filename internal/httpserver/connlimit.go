package httpserver

import (
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync/atomic"
)

// maxIdleReadBytes is the maximum number of bytes to read from a connection between two
// requests, and before the first one. crypto/tls buffers a handshake message until it
// is complete. At any time, it accepts messages of up to 64 KiB, and of up to 256 KiB
// with certificates. Those need three times as much memory. The handshake of an
// API server has about 5 KiB, or 11 KiB with maxClientChainBytes of certificates. The
// first records of crypto/tls are small.
const maxIdleReadBytes = 20 << 10

// limitedListener is a listener of connections that fail after maxIdleReadBytes are
// read while no request is in progress, and that linger when they are closed.
type limitedListener struct {
	net.Listener
	linger *linger
}

func (l limitedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http inspects the error
	}
	bounded := &limitedConn{lingeringConn: lingeringConn{Conn: conn, linger: l.linger}}
	bounded.left.Store(maxIdleReadBytes)
	return bounded, nil
}

// limitedConn is a connection from which at most left bytes can be read.
type limitedConn struct {
	lingeringConn
	left atomic.Int64
}

func (b *limitedConn) Read(p []byte) (int, error) {
	left := b.left.Load()
	if left <= 0 {
		return 0, errors.New("read limit exceeded outside a request")
	}
	read, err := b.Conn.Read(p[:min(int64(len(p)), left)])
	b.left.Add(-int64(read))
	return read, err
}

// limitedConnOf returns the connection below a TLS connection, or nil.
func limitedConnOf(conn net.Conn) *limitedConn {
	overTLS, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	bounded, _ := overTLS.NetConn().(*limitedConn)
	return bounded
}

// setReadLimit sets the read limit of a TLS connection: none if a request is in
// progress, else maxIdleReadBytes.
func setReadLimit(conn net.Conn, active bool) {
	bounded := limitedConnOf(conn)
	if bounded == nil {
		return
	}
	bounded.idle.Store(!active)
	if active {
		bounded.left.Store(math.MaxInt64)
	} else {
		bounded.left.Store(maxIdleReadBytes)
	}
}
