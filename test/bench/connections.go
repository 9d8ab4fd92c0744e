package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync/atomic"
)

// idleConnections is the maximum number of idle connections of an API server to a webhook
// (idleConnsPerHost in k8s.io/client-go/transport/cache.go).
const idleConnections = 25

// newCaller returns a client that behaves like an API server that calls a webhook behind
// a Service: it uses HTTP/1.1 and keep-alive connections.
func newCaller(url string, config *tls.Config) caller {
	opened := new(atomic.Int64)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return caller{url: url, opened: opened, client: &http.Client{
		Timeout: requestTimeout,
		Transport: &http.Transport{
			TLSClientConfig: config, Protocols: protocols, MaxIdleConnsPerHost: idleConnections,
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				opened.Add(1)
				return new(net.Dialer).DialContext(ctx, network, address)
			},
		},
	}}
}
