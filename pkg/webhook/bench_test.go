package webhook_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// resolverFunc makes a webhook.Resolver of a function.
type resolverFunc func(context.Context, types.NamespacedName) (*identity.Identity, error)

func (f resolverFunc) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	return f(ctx, name)
}

var settings = inject.Settings{
	AnnotationPrefix: "eks.amazonaws.com",
	MountPath:        "/var/run/secrets/eks.amazonaws.com/serviceaccount",
}

// role grants every ServiceAccount the same role.
func role(context.Context, types.NamespacedName) (*identity.Identity, error) {
	return &identity.Identity{
		Method:            identity.WebIdentity,
		RoleARN:           "arn:aws:iam::111122223333:role/cloudwatch-agent",
		Audience:          "sts.amazonaws.com",
		ExpirationSeconds: 86400,
	}, nil
}

func newHandler(resolver resolverFunc, log io.Writer) http.Handler {
	return newServer(resolver, slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})).Handler()
}

// benchmarkPods are the AdmissionReviews that are measured.
var benchmarkPods = []struct {
	name string
	body []byte
}{
	{"small", reviewOf(smallPod())},
	{"cloudwatch-agent", reviewOf(cloudWatchAgentPod())},
	{"large", reviewOf(largePod())},
}

// BenchmarkHandler measures the whole of an admission but the network: bytes
// in, bytes out.
func BenchmarkHandler(b *testing.B) {
	for _, pod := range benchmarkPods {
		b.Run(fmt.Sprintf("pod=%s", pod.name), func(b *testing.B) {
			handler := quietHandler()
			b.SetBytes(int64(len(pod.body)))
			b.ReportAllocs()
			for b.Loop() {
				request := httptest.NewRequest(http.MethodPost, "/mutate?timeout=10s", bytes.NewReader(pod.body))
				request.Header.Set("Content-Type", "application/json")
				response := httptest.NewRecorder()
				handler.ServeHTTP(response, request)
				if response.Code != http.StatusOK {
					b.Fatal(response.Body)
				}
			}
		})
	}
}

// BenchmarkTLS measures admissions over HTTP/2 and TLS, client included, beside
// a handler that reads the body and writes a constant answer: what is above
// that floor is ours.
func BenchmarkTLS(b *testing.B) {
	floor := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(constantAnswer)
	})
	for _, pod := range benchmarkPods {
		for _, server := range []struct {
			name    string
			handler http.Handler
		}{{"floor", floor}, {"webhook", quietHandler()}} {
			b.Run(fmt.Sprintf("pod=%s/server=%s", pod.name, server.name), func(b *testing.B) {
				benchmarkTLS(b, server.handler, pod.body)
			})
		}
	}
}

func benchmarkTLS(b *testing.B, handler http.Handler, body []byte) {
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	defer server.Close()
	client := server.Client()
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		response, err := client.Post(server.URL+"/mutate?timeout=10s", "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response.Status, err)
		}
		_ = response.Body.Close()
	}
}

// constantAnswer is of the size of the webhook's own answer for a small pod.
var constantAnswer = bytes.Repeat([]byte("x"), 900)

// quietHandler logs what a server does by default, into nothing.
func quietHandler() http.Handler { return newServer(role, slog.DiscardHandler).Handler() }
