package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
)

// setVerbosity sets the level of klog, which is global, until the test ends.
func setVerbosity(t *testing.T, flag string) {
	t.Helper()
	t.Cleanup(func() {
		klog.ClearLogger()
		_, _ = parseFlags([]string{"-v=0"}, io.Discard)
	})
	if _, err := parseFlags([]string{flag}, io.Discard); err != nil {
		t.Fatal(err)
	}
}

func TestNewLogger_levelNames(t *testing.T) {
	setVerbosity(t, "-v=7")
	var log bytes.Buffer
	logger := newLogger(&log, 7)
	for name, test := range map[string]struct {
		log  func()
		want string
	}{
		"klog at verbosity 1":    {func() { klog.V(1).InfoS("message") }, "DEBUG"},
		"klog at verbosity 4":    {func() { klog.V(4).Info("message") }, "DEBUG"},
		"klog at verbosity 7":    {func() { klog.Background().V(7).Info("message") }, "DEBUG"},
		"klog without verbosity": {func() { klog.InfoS("message") }, "INFO"},
		"klog error":             {func() { klog.ErrorS(errors.New("fault"), "message") }, "ERROR"},
		"debug":                  {func() { logger.Debug("message") }, "DEBUG"},
		"info":                   {func() { logger.Info("message") }, "INFO"},
		"warning":                {func() { logger.Warn("message") }, "WARN"},
		"level above warning":    {func() { logger.Log(t.Context(), slog.LevelWarn+1, "message") }, "WARN"},
		"error":                  {func() { logger.Error("message") }, "ERROR"},
	} {
		t.Run(name, func(t *testing.T) {
			log.Reset()
			test.log()
			var line struct{ Level, Msg string }
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("got log %q, want one line: %v", log.String(), err)
			}
			if line.Level != test.want || line.Msg != "message" {
				t.Errorf("got level %q and message %q, want level %q", line.Level, line.Msg, test.want)
			}
		})
	}
}

func TestNewLogger_durations(t *testing.T) {
	setVerbosity(t, "-v=0")
	var log bytes.Buffer
	logger := newLogger(&log, 0)
	logger.Info("message", "delay", 1500*time.Millisecond, slog.Group("group", "delay", time.Minute))
	klog.InfoS("message", "delay", 20*time.Second)
	for _, want := range []string{`"delay":"1.5s"`, `"group":{"delay":"1m0s"}`, `"delay":"20s"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("got log %s, want it to contain %s", log.String(), want)
		}
	}
}

// TestNewAPIConfig_inCluster checks that client-go does not warn about the configuration
// of a pod, outside of a pod too.
func TestNewAPIConfig_inCluster(t *testing.T) {
	setVerbosity(t, "-v=7")
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	t.Setenv("KUBERNETES_SERVICE_PORT", "")
	var log bytes.Buffer
	newLogger(&log, 7)
	if _, err := newAPIConfig(config{}); !errors.Is(err, rest.ErrNotInCluster) {
		t.Errorf("got %v, want %v", err, rest.ErrNotInCluster)
	}
	if log.Len() > 0 {
		t.Errorf("got log %s, want none", log.String())
	}
}

func TestNewAPIConfig_flags(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	const content = `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"a","cluster":{"server":"https://a.example.com"}}],` +
		`"contexts":[{"name":"a","context":{"cluster":"a"}}],"current-context":"a"}`
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for host, config := range map[string]config{
		"https://a.example.com": {kubeconfig: kubeconfig},
		"https://b.example.com": {kubeAPI: "https://b.example.com"},
		"https://c.example.com": {kubeconfig: kubeconfig, kubeAPI: "https://c.example.com"},
	} {
		if api, err := newAPIConfig(config); err != nil || api.Host != host {
			t.Errorf("got %v, %v; want host %s", api, err, host)
		}
	}
}
