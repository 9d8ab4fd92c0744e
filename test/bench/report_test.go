package main

import (
	"strings"
	"testing"
	"time"
)

func TestReportTable(t *testing.T) {
	candidates := []benchTarget{{name: "constant response"}, {name: "webhook"}, {name: "reference webhook", optional: true}}
	of := func(cpu time.Duration, answer int64) []round {
		r := round{
			load: load{latencies: []time.Duration{cpu, cpu}, answerBytes: 2 * answer, took: 2 * cpu},
			cpu:  2 * cpu, peak: 20e6,
		}
		return []round{r, r, r}
	}
	measured := newReport(machine{CPU: "some CPU", Cores: 2, Go: "go1.26", Platform: "linux/amd64"}, candidates, map[string][]round{
		"constant response": of(100*time.Microsecond, 700), "webhook": of(150*time.Microsecond, 1400), "reference webhook": of(800*time.Microsecond, 11300),
	})
	var out strings.Builder
	measured.writeTable(&out)
	const want = `some CPU, 2 cores, go1.26, linux/amd64; HTTP/1.1 over 8 keep-alive connections; medians of 3 rounds, in brackets the ratio to the floor

|                   | CPU per admission | rate           | p50             | p99             | response         | peak memory   |
| ----------------- | ----------------- | -------------- | --------------- | --------------- | ---------------- | ------------- |
| constant response | 100 µs            | 10000/s        | 0.10 ms         | 0.10 ms         | 0.7 KB           | 20 MB         |
| webhook           | 150 µs (1.50x)    | 6667/s (0.67x) | 0.15 ms (1.50x) | 0.15 ms (1.50x) | 1.4 KB (2.00x)   | 20 MB (1.00x) |
| reference webhook | 800 µs (8.00x)    | 1250/s (0.12x) | 0.80 ms (8.00x) | 0.80 ms (8.00x) | 11.3 KB (16.14x) | 20 MB (1.00x) |
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	kept := newBaseline(measured)
	if len(kept.Ratios) != 1 || kept.Ratios["webhook"]["cpuMicroseconds"] != 1.5 {
		t.Errorf("got recorded ratios %v, want only the webhook's", kept.Ratios)
	}
}

func TestReport_busyMachine(t *testing.T) {
	for others, want := range map[float64]bool{.02: false, .3: true} {
		rounds := map[string][]round{"constant response": {
			{load: load{latencies: []time.Duration{1}, took: 1}},
			{load: load{latencies: []time.Duration{1}, took: 1}, others: others},
		}}
		var out strings.Builder
		newReport(machine{}, []benchTarget{{name: "constant response"}}, rounds).writeTable(&out)
		if got := strings.Contains(out.String(), "NOT QUIET"); got != want {
			t.Errorf("others %v: got warning %t, want %t", others, got, want)
		}
	}
}

func TestCompareLiveReads_ownMetricsOnly(t *testing.T) {
	ratio := values{}
	for _, m := range measures() {
		ratio[m.key] = 1
	}
	kept := newBaseline(report{Results: []result{{Server: "constant response"}, {Server: "webhook", Ratio: ratio}, {Server: "reads", Ratio: ratio, live: true}}})
	for key, want := range map[string]bool{"cpuMicroseconds": true, "answerBytes": true, "peakBytes": true, "admissionsPerSecond": false, "p50Microseconds": false, "p99Microseconds": false} {
		if _, got := kept.Ratios["reads"][key]; got != want {
			t.Errorf("%s: got compared %t, want %t", key, got, want)
		}
		if _, got := kept.Ratios["webhook"][key]; !got {
			t.Errorf("%s of a webhook without live reads is not compared", key)
		}
	}
}

func TestParseOptions_invalid(t *testing.T) {
	for _, args := range [][]string{{"-rounds=0"}, {"-for=0s"}, {"-record", "-compare"}, {"something"}} {
		if _, err := parseOptions(args); err == nil {
			t.Errorf("%q: got no error", args)
		}
	}
}

func TestDistribution_includesMaximum(t *testing.T) {
	var latencies []float64 // µs
	for n := 1; n <= 10_000; n++ {
		latencies = append(latencies, float64(n))
	}
	points := distribution(latencies)
	first, last := points[0], points[len(points)-1]
	if first.X != 1 || first.Y != .001 {
		t.Errorf("got first point %v, want the fastest admission in ms", first)
	}
	if last.X < slowest-1 || last.X > slowest+1 || last.Y < 9.98 || last.Y > 10 {
		t.Errorf("got last point %v, want the 99.9th percentile", last)
	}
	for n := 1; n < len(points); n++ {
		if points[n].Y < points[n-1].Y || points[n].X <= points[n-1].X {
			t.Fatalf("got a decreasing line at %v", points[n])
		}
	}
}
