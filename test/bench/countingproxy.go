package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// countingProxy is a TCP proxy that counts the bytes from the server to the client. It
// does not decrypt them, so the count includes the TLS overhead.
type countingProxy struct {
	listener net.Listener
	target   string
	received atomic.Int64
	running  sync.WaitGroup
}

func startCountingProxy(ctx context.Context, target string) (*countingProxy, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &countingProxy{listener: listener, target: target}
	r.running.Go(func() {
		for {
			accepted, err := listener.Accept()
			if err != nil {
				return // it was closed
			}
			r.running.Go(func() { r.pass(ctx, accepted) })
		}
	})
	return r, nil
}

func (r *countingProxy) address() string { return r.listener.Addr().String() }

// pass forwards one connection until either end is closed.
func (r *countingProxy) pass(ctx context.Context, near net.Conn) {
	defer func() { _ = near.Close() }()
	far, err := new(net.Dialer).DialContext(ctx, "tcp", r.target)
	if err != nil {
		return // near sees its connection end
	}
	var sent sync.WaitGroup
	sent.Go(func() {
		_, _ = io.Copy(far, near)
		_ = far.Close()
	})
	received, _ := io.Copy(near, far)
	r.received.Add(received)
	_ = near.Close()
	sent.Wait()
}

// close waits until all connections are closed, and returns the number of bytes. The
// clients must be closed before.
func (r *countingProxy) close() (int64, error) {
	err := r.listener.Close()
	r.running.Wait()
	return r.received.Load(), err
}

// kubeconfigFor writes a kubeconfig for the API server at another address, whose
// certificate is signed by ca, with the credentials of config.
func kubeconfigFor(dir, address string, ca []byte, config *rest.Config) (string, error) {
	const name = "bench"
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[name] = &clientcmdapi.Cluster{Server: "https://" + address, CertificateAuthorityData: ca}
	kubeconfig.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: config.BearerToken}
	kubeconfig.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	kubeconfig.CurrentContext = name
	path := filepath.Join(dir, "kubeconfig")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}
