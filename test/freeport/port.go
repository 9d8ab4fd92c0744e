// Package freeport finds ports on 127.0.0.1 for servers that tests restart.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The returned ports are below the ranges of source ports for outgoing connections (from
// 32768 on Linux, from 49152 on macOS and Windows). Listening on port 0 returns a port in
// that range. Such a port can be lost while its server restarts: the system can use it as
// the source port of a client that dials it.
const (
	firstPort = 20000
	lastPort  = 32767
	attempts  = 100
)

// FreePort returns a port without a listener. It is random, so that concurrent test binaries
// rarely choose the same port.
func FreePort(ctx context.Context) (int, error) {
	var listen net.ListenConfig
	var last error
	for range attempts {
		port := firstPort + rand.IntN(lastPort-firstPort+1) //nolint:gosec // spread, not secrecy
		listener, err := listen.Listen(ctx, "tcp", Address(port))
		if err != nil {
			last = err
			continue
		}
		return port, listener.Close()
	}
	return 0, fmt.Errorf("find a free loopback port in %d attempts: %w", attempts, last)
}

// Address returns host and port of a loopback server.
func Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
