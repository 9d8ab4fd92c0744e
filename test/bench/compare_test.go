package main

import (
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// likeTheFloor is a baseline of one server that is as good as the floor in all but
// what is changed.
func likeTheFloor(change values) baseline {
	ratios := values{}
	for _, m := range measures() {
		ratios[m.key] = 1
	}
	maps.Copy(ratios, change)
	return baseline{Machine: machine{CPU: "some CPU", Cores: 2}, Ratios: map[string]values{"webhook": ratios}}
}

func TestCompareFailsAboveTheTolerance(t *testing.T) {
	tests := []struct {
		name  string
		now   values
		worse string
	}{
		{name: "the same", now: nil},
		{name: "a little worse", now: values{"cpuMicroseconds": 1.19, "admissionsPerSecond": .85}},
		{name: "much better", now: values{"cpuMicroseconds": .5, "admissionsPerSecond": 2}},
		{name: "more CPU", now: values{"cpuMicroseconds": 1.21}, worse: "CPU per admission"},
		{name: "a lower rate", now: values{"admissionsPerSecond": .82}, worse: "rate"},
		{name: "a longer tail", now: values{"p99Microseconds": 1.5}, worse: "p99"},
		{name: "larger answers", now: values{"answerBytes": 1.3}, worse: "answer"},
		{name: "more memory", now: values{"peakBytes": 1.3}, worse: "memory at peak"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			err := compare(&out, likeTheFloor(nil), likeTheFloor(test.now))
			if got := errors.Is(err, errWorse); got != (test.worse != "") || err != nil && !got {
				t.Errorf("got %v", err)
			}
			for line := range strings.Lines(out.String()) {
				if got, want := strings.Contains(line, "WORSE"), test.worse != "" && strings.Contains(line, "| "+test.worse+" "); got != want {
					t.Errorf("marked as worse: %t, want %t: %s", got, want, line)
				}
			}
		})
	}
}

func TestCompareMissesNothing(t *testing.T) {
	before, now := likeTheFloor(nil), likeTheFloor(nil)
	now.Ratios["another"] = now.Ratios["webhook"]
	if err := compare(new(strings.Builder), before, now); err == nil || !strings.Contains(err.Error(), "make bench-record") {
		t.Errorf("of a server that is not recorded: %v", err)
	}
	if err := compare(new(strings.Builder), now, before); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("of a server that is recorded and was not measured: %v", err)
	}
}

func TestBaselineIsReadAsItWasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "recorded.json")
	want := likeTheFloor(values{"cpuMicroseconds": 1.5})
	if err := want.write(path); err != nil {
		t.Fatal(err)
	}
	got, err := readBaseline(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheRecordedRatiosAreOfWhatIsMeasured(t *testing.T) {
	kept, err := readBaseline(recordedFile())
	if err != nil {
		t.Fatal(err)
	}
	now := baseline{Ratios: map[string]values{}}
	for _, c := range newCandidates("", nil, "reference")[1:] {
		if !c.optional {
			now.Ratios[c.name] = kept.Ratios[c.name]
		}
	}
	if err := compare(new(strings.Builder), kept, now); err != nil {
		t.Error(err)
	}
}
