package controlplane

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

// upstreamCrash is in the log of a crashed kube-apiserver before 1.36. It compiles a
// ValidatingAdmissionPolicy while it evaluates a request with one, and both use one map
// without a lock (kubernetes/kubernetes#135757).
var upstreamCrash = []byte("fatal error: concurrent map ")

// supervise restarts the API server, as the kubelet does, if it exits because of
// upstreamCrash. After any other unexpected exit the API server stays down, and the log
// shows the reason.
func (cp *ControlPlane) supervise(apiServer *process.Process, done chan<- struct{}) {
	defer close(done)
	<-apiServer.Ended()
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.apiServer != apiServer {
		return // stopped or killed by the test
	}
	log, err := os.ReadFile(cp.apiServerLog())
	if err != nil || !bytes.Contains(log, upstreamCrash) {
		cp.logf("%v", apiServer.UnexpectedEnd())
		return
	}
	cp.logf("kube-apiserver crashed because of kubernetes/kubernetes#135757 and is restarted")
	if err := os.Rename(cp.apiServerLog(), cp.apiServerLog()+".crashed"); err != nil {
		cp.logf("%v", err)
		return
	}
	cp.apiServer = nil
	if err := cp.startAPIServer(context.Background()); err != nil {
		cp.logf("restart kube-apiserver: %v", err)
	}
}

func (cp *ControlPlane) apiServerLog() string { return filepath.Join(cp.dir, "kube-apiserver.log") }

// retryTransport repeats a request that no API server received because supervise was about
// to restart it.
type retryTransport struct {
	cp   *ControlPlane
	next http.RoundTripper
}

func (t retryTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := t.next.RoundTrip(request)
	if !errors.Is(err, syscall.ECONNREFUSED) || request.Body != nil && request.GetBody == nil || !t.cp.waitRestart(request.Context()) {
		return response, err
	}
	again := request.Clone(request.Context())
	if request.Body != nil {
		if again.Body, err = request.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.next.RoundTrip(again)
}

// waitRestart waits until a restart of the API server has finished, and reports whether it
// runs.
func (cp *ControlPlane) waitRestart(ctx context.Context) bool {
	cp.mu.Lock()
	apiServer, supervised := cp.apiServer, cp.supervised
	cp.mu.Unlock()
	if apiServer == nil {
		return false
	}
	select {
	case <-supervised:
	case <-ctx.Done():
		return false
	}
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return cp.apiServer != nil && cp.apiServer != apiServer
}
