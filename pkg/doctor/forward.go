package doctor

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
)

// isReady reports whether a pod is ready, so that its Service uses it.
func isReady(pod *corev1.Pod) bool {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

// NewForwarder returns a Forwarder that forwards ports like kubectl port-forward.
func NewForwarder(config *rest.Config, client kubernetes.Interface) Forwarder {
	return func(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
		at := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
		transport, upgrader, err := spdy.RoundTripperFor(config)
		if err != nil {
			return nil, err
		}
		older := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, at)
		newer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(at, config)
		if err != nil {
			return nil, err
		}
		// API servers before 1.31 support only SPDY (KEP-4006).
		dialer := portforward.NewFallbackDialerForStreaming(newer, older, func(err error) bool {
			return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
		})
		return forward(ctx, dialer, port)
	}
}

// forward forwards a local port to port and connects to it. Closing the connection stops
// the forwarding.
func forward(ctx context.Context, dialer httpstream.Dialer, port int) (net.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	ready, ended, failed := make(chan struct{}), make(chan struct{}), error(nil)
	// The caller gets errors from the connection. Without this logger the forwarder logs
	// an error even when the connection is closed.
	silent := klog.NewContext(ctx, klog.Logger{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(silent, dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(ended)
		failed = forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case <-ended:
		cancel()
		// The error contains only the text of the API server's response, not its status.
		if failed != nil && strings.Contains(failed.Error(), "forbidden") {
			return nil, errForwardForbidden
		}
		return nil, fmt.Errorf("forward port %d: %w", port, failed)
	case <-ctx.Done():
		cancel()
		return nil, ctx.Err()
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		cancel()
		return nil, err
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", fmt.Sprint(ports[0].Local)))
	if err != nil {
		cancel()
		return nil, err
	}
	return &forwarded{Conn: connection, end: cancel, ended: ended}, nil
}

// forwarded is a connection whose Close stops the forwarding.
type forwarded struct {
	net.Conn
	end   context.CancelFunc
	ended <-chan struct{}
}

// Close implements net.Conn.
func (f *forwarded) Close() error {
	err := f.Conn.Close()
	f.end()
	<-f.ended
	return err
}
