package version

import (
	"runtime/debug"
	"testing"
)

func TestThis(t *testing.T) {
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
		want                   Build
	}{
		"linker flags of the Makefile": {
			"v1.2.3", "4567def", "1700000000", recorded("(devel)", git...),
			Build{"v1.2.3", "4567def", "2023-11-14T22:13:20Z", "go1.26.8"},
		},
		"module version after go install": {
			"", "", "", recorded("v1.2.3"),
			Build{"v1.2.3", "unknown", "unknown", "go1.26.8"},
		},
		"git after go build": {
			"", "", "", recorded("(devel)", git...),
			Build{"devel", "0123abc", "2026-11-01T10:00:00Z", "go1.26.8"},
		},
		"dirty work tree": {
			"", "", "", recorded("", dirty...),
			Build{"devel", "0123abc-dirty", "unknown", "go1.26.8"},
		},
		"no git and no Makefile": {
			"", "", "", recorded(""),
			Build{"devel", "unknown", "unknown", "go1.26.8"},
		},
		"linker flags without git": {
			"devel", "unknown", "0", recorded(""),
			Build{"devel", "unknown", "unknown", "go1.26.8"},
		},
		"date that is not a number": {
			"v1.2.3", "4567def", "yesterday", recorded("(devel)"),
			Build{"v1.2.3", "4567def", "unknown", "go1.26.8"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := newBuild(test.version, test.commit, test.epoch, test.recorded); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestBuildOf(t *testing.T) {
	b := Build{"v1.2.3", "4567def", "2023-11-14T22:13:20Z", "go1.26.8"}
	if got, want := b.Of("local-sts"), "local-sts v1.2.3 (commit 4567def, of 2023-11-14T22:13:20Z, go1.26.8)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
