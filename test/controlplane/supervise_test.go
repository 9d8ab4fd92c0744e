package controlplane

import (
	"bytes"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestSupervise(t *testing.T) {
	const upstream = "fatal error: concurrent map read and map write\n\ngoroutine 1 [running]:\n"
	tests := map[string]struct {
		log       string
		restarted bool
		message   string
	}{
		"upstream crash": {log: upstream, restarted: true, message: "is restarted"},
		"another exit":   {message: "kube-apiserver exited unexpectedly: signal: killed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var output lockedBuffer
			cp, err := Start(t.Context(), Options{Dir: t.TempDir(), Log: &output})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(cp.Stop)
			client := newClient(t, cp.Config())
			log, err := os.OpenFile(cp.apiServerLog(), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(log, test.log); err != nil {
				t.Fatal(err)
			}
			if err := log.Close(); err != nil {
				t.Fatal(err)
			}
			ended := supervised(cp)
			if err := syscall.Kill(cp.APIServerPID(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			<-ended
			_, err = client.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{})
			if restarted := err == nil; restarted != test.restarted {
				t.Errorf("got restarted %t, want %t: %v", restarted, test.restarted, err)
			}
			if got := output.String(); !strings.Contains(got, test.message) {
				t.Errorf("got log\n%s\nwant %q", got, test.message)
			}
		})
	}
}

// TestConfig_waitsForRestart sends requests before, during and after the crash.
func TestConfig_waitsForRestart(t *testing.T) {
	cp := start(t)
	log, err := os.OpenFile(cp.apiServerLog(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := log.Write(upstreamCrash); err != nil {
		t.Fatal(err)
	}
	client, ended := newClient(t, cp.Config()), supervised(cp)
	if err := syscall.Kill(cp.APIServerPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for done := false; !done; {
		select {
		case <-ended:
			done = true
		default:
		}
		_, err := client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
		// Only requests on a broken connection may fail.
		if err != nil && strings.Contains(err.Error(), "connection refused") {
			t.Fatal(err)
		}
	}
}

func supervised(cp *ControlPlane) <-chan struct{} {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return cp.supervised
}

type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
