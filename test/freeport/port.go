// Package freeport finds ports on 127.0.0.1 for servers that tests restart.
package freeport

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports that are handed out lie below the ranges from which systems take
// the source ports of outgoing connections (from 32768 on Linux, from 49152 on
// macOS and Windows). A port out of those ranges, which is what listening on
// port 0 gives, can be lost while its server is restarted: a client that dials
// it may be given it as its own source port.
const (
	firstPort = 20000
	lastPort  = 32767
	attempts  = 100
)

// FreePort returns a port on which nothing listened a moment ago. It is drawn
// at random so that test binaries that run side by side rarely meet.
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

// Address is host and port of a loopback server.
func Address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
