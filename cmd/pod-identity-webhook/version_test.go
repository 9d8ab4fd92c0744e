package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/program"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/version"
)

func TestVersionFlag(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := realMain(t.Context(), []string{"--version"}, &stdout, &stderr); code != program.ExitOK {
		t.Fatalf("got exit code %d and %q", code, stderr.String())
	}
	if got, want := stdout.String(), version.This().Of("pod-identity-webhook")+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBuildInfoMetric(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(buildInfo(version.Build{
		Version: "v1.2.3", Commit: "4567def", Date: "2023-11-14T22:13:20Z", GoVersion: "go1.26.8",
	}))
	response := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	const want = `
pod_identity_webhook_build_info{commit="4567def",goversion="go1.26.8",version="v1.2.3"} 1
`
	if got := response.Body.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want it to end in %s", got, want)
	}
}
