package main

import (
	"errors"
	"maps"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// likeTheFloor returns a baseline of one server with the ratio 1 for all measures,
// except for the changes.
func likeTheFloor(change values) baseline {
	ratios := values{}
	for _, m := range measures() {
		ratios[m.key] = 1
	}
	maps.Copy(ratios, change)
	return baseline{Machine: machine{CPU: "some CPU", Cores: 2}, Ratios: map[string]values{"webhook": ratios}}
}

func TestCompare_aboveTolerance(t *testing.T) {
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
		{name: "larger responses", now: values{"answerBytes": 1.3}, worse: "response"},
		{name: "more memory", now: values{"peakBytes": 1.3}, worse: "peak memory"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			err := compare(&out, likeTheFloor(nil), likeTheFloor(test.now))
			if got := errors.Is(err, errRegression); got != (test.worse != "") || err != nil && !got {
				t.Errorf("got %v", err)
			}
			for line := range strings.Lines(out.String()) {
				if got, want := strings.Contains(line, "WORSE"), test.worse != "" && strings.Contains(line, "| "+test.worse+" "); got != want {
					t.Errorf("got marked as worse %t, want %t: %s", got, want, line)
				}
			}
		})
	}
}

func TestCheckGoals(t *testing.T) {
	of := func(cached, cpu, toReading, reads, p99 float64) report {
		return report{
			Results: []result{
				{Server: "constant response"},
				{Server: "webhook, cached", Ratio: values{"cpuMicroseconds": cached}},
				{Server: "webhook, live", live: true, LiveReads: reads, Ratio: values{"cpuMicroseconds": cpu}, RatioToReading: toReading},
			},
			Creations: []creation{
				{Accounts: 1, Rounds: []creationRound{{Cached: 1, Live: 1}}},
				{Accounts: 200, Rounds: []creationRound{{Cached: 10, Live: 10 * p99}, {Cached: 1, Live: 9}, {Cached: 1, Live: 1}}},
			},
		}
	}
	for name, test := range map[string]struct {
		measured report
		missed   string
	}{
		"all are reached":                    {of(2.3, 3.2, 2.3, 1, 1.5), ""},
		"more CPU":                           {of(2, 3.21, 1, 1, 1.5), "webhook, live, CPU per admission to the floor's"},
		"more CPU with the cache":            {of(2.31, 3, 1, 1, 1), "webhook, cached, CPU per admission to the floor's"},
		"more CPU than the floor with reads": {of(2, 3, 2.31, 1, 1.5), "CPU per admission to that of the floor with reads"},
		"no read":                            {of(2, 1.5, 1, 0, 1), "reads per admission"},
		"a longer tail":                      {of(2, 3, 1, 1, 1.51), "200 ServiceAccounts"},
		"more reads than one":                {of(2, 3, 1, 1.2, 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := checkGoals(&out, test.measured.goals())
			if got := errors.Is(err, errGoal); got != (test.missed != "") || err != nil && !got {
				t.Errorf("got %v", err)
			}
			for line := range strings.Lines(out.String()) {
				if got, want := strings.Contains(line, "MISSED"), test.missed != "" && strings.Contains(line, test.missed); got != want {
					t.Errorf("got marked as missed %t, want %t: %s", got, want, line)
				}
			}
		})
	}
}

func TestNewCreations(t *testing.T) {
	of := func(accounts, reads int, took time.Duration) podLoad {
		return podLoad{accounts: accounts, reads: reads, load: load{latencies: []time.Duration{took, took}}}
	}
	got := newCreations([]int{1, 200},
		[]podLoad{of(1, 0, time.Millisecond), of(200, 0, 2*time.Millisecond), of(1, 0, 3*time.Millisecond), of(200, 0, 4*time.Millisecond)},
		[]podLoad{of(1, 1, 2*time.Millisecond), of(200, 2, 2*time.Millisecond), of(1, 2, 3*time.Millisecond), of(200, 2, 8*time.Millisecond)})
	want := []creation{
		{Accounts: 1, Rounds: []creationRound{{Cached: 1000, Live: 2000, Reads: .5}, {Cached: 3000, Live: 3000, Reads: 1}}},
		{Accounts: 200, Rounds: []creationRound{{Cached: 2000, Live: 2000, Reads: 1}, {Cached: 4000, Live: 8000, Reads: 1}}},
	}
	if !reflect.DeepEqual(got, want) || got[0].ratio() != 1.5 || got[1].ratio() != 1.5 {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestCompare_mismatchedTargets(t *testing.T) {
	before, now := likeTheFloor(nil), likeTheFloor(nil)
	now.Ratios["another"] = now.Ratios["webhook"]
	if err := compare(new(strings.Builder), before, now); err == nil || !strings.Contains(err.Error(), "make bench-baseline") {
		t.Errorf("server that is not recorded: got %v", err)
	}
	if err := compare(new(strings.Builder), now, before); err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("server that is recorded but was not measured: got %v", err)
	}
}

func TestBaseline_roundTrip(t *testing.T) {
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

func TestBaseline_matchesTargets(t *testing.T) {
	kept, err := readBaseline(recordedFile())
	if err != nil {
		t.Fatal(err)
	}
	now := baseline{Ratios: map[string]values{}}
	for _, c := range newCandidates(nil, "", nil, "reference")[1:] {
		if !c.optional {
			now.Ratios[c.name] = kept.Ratios[c.name]
		}
	}
	if err := compare(new(strings.Builder), kept, now); err != nil {
		t.Error(err)
	}
}
