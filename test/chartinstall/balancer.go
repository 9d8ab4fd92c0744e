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
	// probeInterval is shorter than the chart's, so that tests need not wait.
	probeInterval = 100 * time.Millisecond
	// failureThreshold is how many probes in a row must fail before a replica
	// gets no more connections; it is a kubelet's default.
	failureThreshold = 3
)

// loadBalancer gives each connection to a replica that is ready, one after the
// other, as kube-proxy does for a Service.
type loadBalancer struct {
	port     int
	log      io.Writer
	listener net.Listener
	ctx      context.Context //nolint:containedctx // it is the life of the balancer
	cancel   context.CancelFunc
	running  sync.WaitGroup
	next     atomic.Uint64
	// replicas are those that get connections once they are ready.
	replicas atomic.Pointer[[]*Replica]
	// ready are the addresses of those that are.
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

// serve replaces the replicas that get connections. Connections that there are
// stay where they are.
func (b *loadBalancer) serve(replicas ...*Replica) { b.replicas.Store(&replicas) }

// waitAll waits until exactly the replicas are in service.
func (b *loadBalancer) waitAll(ctx context.Context) error {
	var want []string
	for _, replica := range *b.replicas.Load() {
		want = append(want, freeport.Address(replica.port))
	}
	err := wait.PollUntilContextTimeout(ctx, probeInterval/10, readyTimeout, true, func(context.Context) (bool, error) {
		return slices.Equal(*b.ready.Load(), want), nil
	})
	if err != nil {
		return fmt.Errorf("wait for %d replicas in service, there are %d: %w", len(want), len(*b.ready.Load()), err)
	}
	return nil
}

func (b *loadBalancer) close() {
	b.cancel()
	_ = b.listener.Close()
	b.running.Wait()
}

// probe keeps the list of those that are ready.
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
				failures[replica] = failureThreshold // not ready before it has said so
			}
			if err := replica.probe(b.ctx, client); err == nil {
				failures[replica] = 0
			} else if failures[replica]++; failures[replica] == failureThreshold {
				fmt.Fprintf(b.log, "replica %d gets no more connections: %v\n", n, err)
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

// forward copies until both sides have closed. A client whose replica cannot be
// reached is closed at once.
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
			// The end of one way is passed on, and the other may go on.
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
