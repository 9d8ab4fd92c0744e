package doctor

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// kubelet forwards a port like an API server before 1.31, which supports only SPDY. The
// forwarded port prints its number and echoes its input.
func kubelet(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/api/v1/namespaces/irsa/pods/webhook/portforward" {
		http.Error(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"pods \\"another\\" is forbidden: User \\"x\\" cannot create resource \\"pods/portforward\\""}`, http.StatusForbidden)
		return
	}
	if r.Method == http.MethodGet {
		http.Error(w, "no WebSockets here", http.StatusBadRequest)
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{"portforward.k8s.io"}); err != nil {
		return
	}
	streams := make(chan httpstream.Stream, 2)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if connection == nil {
		return
	}
	defer connection.Close()
	for {
		select {
		case <-connection.CloseChan():
			return
		case stream := <-streams:
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				_ = stream.Close()
				continue
			}
			go func() {
				defer stream.Close()
				fmt.Fprintf(stream, "port %s\n", stream.Headers().Get(corev1.PortHeader))
				_, _ = io.Copy(stream, stream)
			}()
		}
	}
}

func TestForwarder_spdyFallback(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(kubelet))
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	forward := NewForwarder(config, client)
	connection, err := forward(t.Context(), "irsa", "webhook", 8443)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(connection, "hello")
	lines := bufio.NewReader(connection)
	for _, want := range []string{"port 8443\n", "hello\n"} {
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	if err := connection.Close(); err != nil {
		t.Error(err)
	}
	if _, err := forward(t.Context(), "irsa", "another", 8443); !errors.Is(err, errForwardForbidden) {
		t.Errorf("got %v, want %v", err, errForwardForbidden)
	}
}
