package webhook

import (
	"crypto/tls"
	"errors"
	"math"
	"net"
	"sync/atomic"
)

// maxNewcomerBytes is what may be read of a connection before its first request
// begins. TLS keeps the messages of a handshake until they are whole, which may be
// 64 KiB for the first one and 256 KiB for certificates, and takes three times as
// much for them. An API server's handshake takes some 5 KiB; one with maxChainBytes
// takes 11, and the first records of Go's crypto/tls are small.
const maxNewcomerBytes = 20 << 10

// newcomers is a listener whose connections fail when more than maxNewcomerBytes
// are read of them before a request.
type newcomers struct{ net.Listener }

func (n newcomers) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http looks at what it is
	}
	newcomer := &newcomer{Conn: conn}
	newcomer.left.Store(maxNewcomerBytes)
	return newcomer, nil
}

// newcomer is a connection of which left bytes may be read.
type newcomer struct {
	net.Conn
	left atomic.Int64
}

func (n *newcomer) Read(p []byte) (int, error) {
	left := n.left.Load()
	if left <= 0 {
		return 0, errors.New("too much was sent before a request")
	}
	read, err := n.Conn.Read(p[:min(int64(len(p)), left)])
	n.left.Add(-int64(read))
	return read, err
}

// admitNewcomer lifts the limit of a TLS connection.
func admitNewcomer(conn net.Conn) {
	overTLS, ok := conn.(*tls.Conn)
	if !ok {
		return
	}
	if n, ok := overTLS.NetConn().(*newcomer); ok {
		n.left.Store(math.MaxInt64)
	}
}
