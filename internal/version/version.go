// Package version says which build of this project a program is. The Makefile
// links it in; for the rest there is what the Go toolchain records. It never
// reads anything at run time.
package version

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"time"
)

// What the Makefile says of the build, by the linker's -X. Each is empty where
// the Go toolchain built the program alone, as `go install` does.
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

// Build says which build this is. None of its fields is empty.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Date is that of the commit, in RFC 3339.
	Date      string `json:"date"`
	GoVersion string `json:"goVersion"`
}

// unknown is said of what nobody recorded.
const unknown = "unknown"

// This is what was linked in, and for the rest what the Go toolchain recorded.
func This() Build {
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		recorded = &debug.BuildInfo{GoVersion: unknown}
	}
	return newBuild(linkedVersion, linkedCommit, linkedEpoch, recorded)
}

func newBuild(version, commit, epoch string, recorded *debug.BuildInfo) Build {
	b := Build{Version: "devel", Commit: unknown, Date: unknown, GoVersion: recorded.GoVersion}
	// In a work tree the toolchain's version is (devel), or empty.
	if v := recorded.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	settings := make(map[string]string, len(recorded.Settings))
	for _, setting := range recorded.Settings {
		settings[setting.Key] = setting.Value
	}
	if revision := settings["vcs.revision"]; revision != "" {
		b.Commit = revision
		if settings["vcs.modified"] == "true" {
			b.Commit += "-dirty"
		}
	}
	if date := settings["vcs.time"]; date != "" {
		b.Date = date
	}
	if version != "" {
		b.Version = version
	}
	if commit != "" {
		b.Commit = commit
	}
	if seconds, err := strconv.ParseInt(epoch, 10, 64); err == nil && seconds > 0 {
		b.Date = time.Unix(seconds, 0).UTC().Format(time.RFC3339)
	}
	return b
}

// Of is what a program of this build says of itself.
func (b Build) Of(program string) string {
	return fmt.Sprintf("%s %s (commit %s, of %s, %s)", program, b.Version, b.Commit, b.Date, b.GoVersion)
}
