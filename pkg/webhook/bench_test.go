package webhook_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// resolverFunc is a webhook.Resolver that calls a function.
type resolverFunc func(context.Context, types.NamespacedName) (*identity.Identity, error)

func (f resolverFunc) Resolve(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	return f(ctx, name)
}

var settings = inject.Settings{
	AnnotationPrefix:  "eks.amazonaws.com",
	MountPath:         "/var/run/secrets/eks.amazonaws.com/serviceaccount",
	FallbackMountPath: "/eks.amazonaws.com/serviceaccount",
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

// eachRecording runs a benchmark with each of the recorded AdmissionReviews of an API
// server, which make bench also uses.
func eachRecording(b *testing.B, run func(b *testing.B, body []byte)) {
	for _, pod := range []string{"small", "cloudwatch-agent", "large"} {
		body, err := os.ReadFile("../../test/bench/testdata/" + pod + ".json")
		if err != nil {
			b.Fatal(err)
		}
		b.Run("pod="+pod, func(b *testing.B) {
			b.ReportAllocs()
			run(b, body)
		})
	}
}

// BenchmarkHandler measures an admission request without the network.
func BenchmarkHandler(b *testing.B) {
	eachRecording(b, func(b *testing.B, body []byte) {
		handler := quietHandler()
		for b.Loop() {
			response := post(handler, "application/json", bytes.NewReader(body))
			if response.Code != http.StatusOK {
				b.Fatal(response.Body)
			}
		}
	})
}

// BenchmarkDecode measures the decoding of a body.
func BenchmarkDecode(b *testing.B) {
	eachRecording(b, func(b *testing.B, body []byte) {
		for b.Loop() {
			if _, err := webhook.DecodePodRequest(body); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkEncode measures the encoding of a decision.
func BenchmarkEncode(b *testing.B) {
	eachRecording(b, func(b *testing.B, body []byte) {
		request, err := webhook.DecodePodRequest(body)
		if err != nil {
			b.Fatal(err)
		}
		answer, err := webhook.NewMutator(webhook.MutateConfig{
			Resolver: resolverFunc(role), Settings: settings, Logger: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
		}).Handle(b.Context(), request)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			webhook.WriteAnswer(httptest.NewRecorder(), answer)
		}
	})
}

// quietHandler logs at the default level and discards the lines.
func quietHandler() http.Handler { return newServer(role, slog.DiscardHandler).Handler() }
