package httpserver

import (
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync/atomic"
)

// maxIdleReadBytes is what may be read of a connection between two requests, and
// before the first. TLS keeps a handshake's message until it is whole, which may be
// 64 KiB, and 256 KiB for certificates, and takes three times as much for them; it
// takes such messages at any time. An API server's handshake takes some 5 KiB; one
// with maxChainBytes takes 11, and the first records of Go's crypto/tls are small.
const maxIdleReadBytes = 20 << 10

// limitedListener is one whose connections fail when more than maxUnaskedBytes are
// read of them while they are not active, and linger when they are closed.
type limitedListener struct {
	net.Listener
	linger *linger
}

func (l limitedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http looks at what it is
	}
	bounded := &limitedConn{lingeringConn: lingeringConn{Conn: conn, linger: l.linger}}
	bounded.left.Store(maxIdleReadBytes)
	return bounded, nil
}

// limitedConn is a connection of which left bytes may be read.
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

// boundedOf returns the connection below a TLS connection, or nil.
func boundedOf(conn net.Conn) *limitedConn {
	overTLS, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	bounded, _ := overTLS.NetConn().(*limitedConn)
	return bounded
}

// setReadLimit gives a TLS connection the bound that goes with its state.
func setReadLimit(conn net.Conn, active bool) {
	bounded := boundedOf(conn)
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
