// Package version has the version of a program of this project. The Makefile sets it with
// linker flags; otherwise it is what the Go toolchain records. The package reads no files
// at run time.
package version

import (
	"fmt"
	"runtime/debug"
	"strconv"
	"time"
)

// Values that the Makefile sets with the linker flag -X. They are empty in a program that
// was built without the Makefile, for example by go install.
//
//nolint:gochecknoglobals // only -X sets these variables
var (
	// linkedVersion is the tag, or the tag with the commits since then. It ends in
	// -dirty if the work tree had changes.
	linkedVersion string
	// linkedCommit is the full hash of the commit. It ends in -dirty too.
	linkedCommit string
	// linkedEpoch is the date of the commit, in seconds since 1970; 0 if unknown.
	linkedEpoch string
)

// Build is the version of a program. None of its fields is empty.
type Build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	// Date is the date of the commit, in RFC 3339.
	Date      string `json:"date"`
	GoVersion string `json:"goVersion"`
}

// unknown is the value of a field that was not recorded.
const unknown = "unknown"

// This returns the version of the running program: the values of the linker flags, and
// otherwise those that the Go toolchain recorded.
func This() Build {
	recorded, ok := debug.ReadBuildInfo()
	if !ok {
		recorded = &debug.BuildInfo{GoVersion: unknown}
	}
	return newBuild(linkedVersion, linkedCommit, linkedEpoch, recorded)
}

func newBuild(version, commit, epoch string, recorded *debug.BuildInfo) Build {
	b := Build{Version: "devel", Commit: unknown, Date: unknown, GoVersion: recorded.GoVersion}
	// In a work tree the version of the toolchain is (devel) or empty.
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

// Of returns the version line of a program.
func (b Build) Of(program string) string {
	return fmt.Sprintf("%s %s (commit %s, of %s, %s)", program, b.Version, b.Commit, b.Date, b.GoVersion)
}
