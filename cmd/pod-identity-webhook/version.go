package main

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// What the Makefile says of the build, by the linker's -X. Each is empty where
// the Go toolchain built the command alone, as `go install` does.
//
//nolint:gochecknoglobals // -X sets variables, and nothing else does
var (
	// linkedVersion is the tag, or the commits since; it says if the tree is dirty.
	linkedVersion string
	// linkedCommit is the full hash of the commit; it says so, too.
	linkedCommit string
	// linkedEpoch is the date of the commit, in seconds since 1970; 0 where there is none.
	linkedEpoch string
)

// build says which program this is. None of its fields is empty.
type build struct {
	version, commit, date, goVersion string
}

// unknown is said of what nobody recorded.
const unknown = "unknown"

// thisBuild is what was linked in, and for the rest what the Go toolchain
// recorded.
func thisBuild() build {
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		recorded = &debug.BuildInfo{GoVersion: unknown}
	}
	return newBuild(linkedVersion, linkedCommit, linkedEpoch, recorded)
}

func newBuild(version, commit, epoch string, recorded *debug.BuildInfo) build {
	b := build{version: "devel", commit: unknown, date: unknown, goVersion: recorded.GoVersion}
	// In a work tree the toolchain's version is (devel), or empty.
	if v := recorded.Main.Version; v != "" && v != "(devel)" {
		b.version = v
	}
	settings := make(map[string]string, len(recorded.Settings))
	for _, setting := range recorded.Settings {
		settings[setting.Key] = setting.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		b.commit = revision
		if settings["vcs.modified"] == "true" {
			b.commit += "-dirty"
		}
	}
	if date := settings["vcs.time"]; date != "" {
		b.date = date
	}
	if version != "" {
		b.version = version
	}
	if commit != "" {
		b.commit = commit
	}
	if seconds, err := strconv.ParseInt(epoch, 10, 64); err == nil && seconds > 0 {
		b.date = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	return b
}

// String is what --version prints.
func (b build) String() string {
	return fmt.Sprintf("pod-identity-webhook %s (commit %s, of %s, %s)", b.version, b.commit, b.date, b.goVersion)
}

// collector is the metric that joins this build to the other metrics.
func (b build) collector() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_build_info",
		Help: "Always 1. Its labels say which build runs: look here first when replicas of one Deployment behave differently.",
		ConstLabels: prometheus.Labels{
			"version": b.version, "commit": b.commit, "goversion": b.goVersion,
		},
	}, func() float64 { return 1 })
}
