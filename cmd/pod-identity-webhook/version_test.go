package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

func TestABuildKnowsItself(t *testing.T) {
	recorded := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Version: version}, Settings: settings}
	}
	git := []debug.BuildSetting{
		{Key: "vcs.revision", Value: "0123abc"},
		{Key: "vcs.time", Value: "2026-11-01T10:00:00Z"},
		{Key: "vcs.modified", Value: "false"},
	}
	dirty := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"}}
	for name, test := range map[string]struct {
		version, commit, epoch string
		recorded               *debug.BuildInfo
		want                   build
	}{
		"by what the Makefile linked in": {
			"v1.2.3", "4567def", "1700000000", recorded("(devel)", git...),
			build{"v1.2.3", "4567def", "2023-11-14T22:13:20Z", "go1.26.8"},
		},
		"by its module's version after go install": {
			"", "", "", recorded("v1.2.3"),
			build{"v1.2.3", "unknown", "unknown", "go1.26.8"},
		},
		"by git after go build": {
			"", "", "", recorded("(devel)", git...),
			build{"devel", "0123abc", "2026-11-01T10:00:00Z", "go1.26.8"},
		},
		"and says that its tree was dirty": {
			"", "", "", recorded("", dirty...),
			build{"devel", "0123abc-dirty", "unknown", "go1.26.8"},
		},
		"without git and without the Makefile": {
			"", "", "", recorded(""),
			build{"devel", "unknown", "unknown", "go1.26.8"},
		},
		"by what the Makefile says without git": {
			"devel", "unknown", "0", recorded(""),
			build{"devel", "unknown", "unknown", "go1.26.8"},
		},
		"although its date is not a number": {
			"v1.2.3", "4567def", "yesterday", recorded("(devel)"),
			build{"v1.2.3", "4567def", "unknown", "go1.26.8"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newBuild(test.version, test.commit, test.epoch, test.recorded); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestVersionPrintsTheBuild(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := realMain(t.Context(), []string{"--version"}, &stdout, &stderr); code != exitOK {
		t.Fatalf("exit code %d, and %q", code, stderr.String())
	}
	if got, want := stdout.String(), thisBuild().String()+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b := build{"v1.2.3", "4567def", "2023-11-14T22:13:20Z", "go1.26.8"}
	if got, want := b.String(), "pod-identity-webhook v1.2.3 (commit 4567def, of 2023-11-14T22:13:20Z, go1.26.8)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTheBuildIsAMetric(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(build{"v1.2.3", "4567def", "2023-11-14T22:13:20Z", "go1.26.8"}.collector())
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	const want = `
pod_identity_webhook_build_info{commit="4567def",goversion="go1.26.8",version="v1.2.3"} 1
`
	if got := answer.Body.String(); !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want at its end %s", got, want)
	}
}
