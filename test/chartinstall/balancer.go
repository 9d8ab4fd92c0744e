package chartinstall

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
)

const (
	// probeInterval is shorter than in the chart, so that tests take less time.
	probeInterval = 100 * time.Millisecond
	// failureThreshold is the number of consecutive failed probes after which a
	// replica gets no more connections. It is the kubelet's default.
	failureThreshold = 3
)

// loadBalancer forwards each connection to the next ready replica, as kube-proxy does
// for a Service.
type loadBalancer struct {
	port     int
	log      io.Writer
	listener net.Listener
	ctx      context.Context //nolint:containedctx // it is the life of the balancer
	cancel   context.CancelFunc
	running  sync.WaitGroup
	next     atomic.Uint64
	// replicas are the replicas that get connections when they are ready.
	replicas atomic.Pointer[[]*Replica]
	// ready are the addresses of the ready replicas.
	ready atomic.Pointer[[]string]
}

func newBalancer(ctx context.Context, log io.Writer) (*loadBalancer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", freeport.Address(0))
	if err != nil {
		return nil, err
	}
	b := &loadBalancer{port: listener.Addr().(*net.TCPAddr).Port, log: log, listener: listener}
	b.ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.replicas.Store(&[]*Replica{})
	b.ready.Store(&[]string{})
	b.running.Go(b.probe)
	b.running.Go(func() {
		for {
			connection, err := b.listener.Accept()
			if err != nil {
				return
			}
			b.running.Go(func() { b.forward(connection) })
		}
	})
	return b, nil
}

// serve replaces the replicas that get connections. Existing connections stay open.
func (b *loadBalancer) serve(replicas ...*Replica) { b.replicas.Store(&replicas) }

// waitAll waits until exactly the given replicas are ready.
func (b *loadBalancer) waitAll(ctx context.Context) error {
	var want []string
	for _, replica := range *b.replicas.Load() {
		want = append(want, freeport.Address(replica.port))
	}
	err := wait.PollUntilContextTimeout(ctx, probeInterval/10, readyTimeout, true, func(context.Context) (bool, error) {
		return slices.Equal(*b.ready.Load(), want), nil
	})
	if err != nil {
		return fmt.Errorf("wait until %d replicas are ready, got %d: %w", len(want), len(*b.ready.Load()), err)
	}
	return nil
}

func (b *loadBalancer) close() {
	b.cancel()
	_ = b.listener.Close()
	b.running.Wait()
}

// probe updates the list of ready replicas.
func (b *loadBalancer) probe() {
	client := probeClient()
	defer client.CloseIdleConnections()
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	failures := map[*Replica]int{}
	for {
		var ready []string
		for n, replica := range *b.replicas.Load() {
			if _, known := failures[replica]; !known {
				failures[replica] = failureThreshold // not ready until the first successful probe
			}
			if err := replica.probe(b.ctx, client); err == nil {
				failures[replica] = 0
			} else if failures[replica]++; failures[replica] == failureThreshold {
				fmt.Fprintf(b.log, "replica %d is not ready and gets no more connections: %v\n", n, err)
			}
			if failures[replica] < failureThreshold {
				ready = append(ready, freeport.Address(replica.port))
			}
		}
		b.ready.Store(&ready)
		select {
		case <-b.ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// forward copies data until both sides are closed. It closes the client's connection if
// the replica is not reachable.
func (b *loadBalancer) forward(client net.Conn) {
	defer func() { _ = client.Close() }()
	server := b.dial()
	if server == nil {
		return
	}
	defer func() { _ = server.Close() }()
	stop := context.AfterFunc(b.ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var copying sync.WaitGroup
	for _, way := range []struct{ to, from net.Conn }{{server, client}, {client, server}} {
		copying.Go(func() {
			_, _ = io.Copy(way.to, way.from)
			// Half-close the other connection. The other direction continues.
			if tcp, ok := way.to.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
		})
	}
	copying.Wait()
}

func (b *loadBalancer) dial() net.Conn {
	ready := *b.ready.Load()
	if len(ready) == 0 {
		return nil
	}
	server, err := new(net.Dialer).DialContext(b.ctx, "tcp", ready[b.next.Add(1)%uint64(len(ready))])
	if err != nil {
		return nil
	}
	return server
}
