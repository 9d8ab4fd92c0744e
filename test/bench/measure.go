package main

import (
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
)

// round is one measurement of a server.
type round struct {
	load
	cpu  time.Duration // CPU time of the server for all admissions
	peak uint64        // peak memory of the server in bytes
	// reads is the number of live reads per admission.
	reads float64
	// others is the share of the machine's CPU time that other processes used.
	others float64
}

// measure describes one figure of a round.
type measure struct {
	// key is its name in JSON, with the unit.
	key, title string
	of         func(round) float64
	format     func(float64) string
	// more is true if higher values are better.
	more bool
	// waits is true if the figure includes the time of servers that the server waits for.
	waits bool
}

// measures returns the columns of the table, in order.
func measures() []measure {
	return []measure{
		{
			key: "cpuMicroseconds", title: "CPU per admission", format: microseconds,
			of: func(r round) float64 { return float64(r.cpu.Microseconds()) / float64(len(r.latencies)) },
		},
		{
			key: "admissionsPerSecond", title: "rate", more: true, waits: true,
			of:     func(r round) float64 { return float64(len(r.latencies)) / r.took.Seconds() },
			format: func(v float64) string { return fmt.Sprintf("%.0f/s", v) },
		},
		{key: "p50Microseconds", title: "p50", waits: true, format: milliseconds, of: func(r round) float64 { return r.quantile(.5) }},
		{key: "p99Microseconds", title: "p99", waits: true, format: milliseconds, of: func(r round) float64 { return r.quantile(.99) }},
		{
			key: "answerBytes", title: "response",
			of:     func(r round) float64 { return float64(r.answerBytes) / float64(len(r.latencies)) },
			format: func(v float64) string { return fmt.Sprintf("%.1f KB", v/1000) },
		},
		{
			key: "peakBytes", title: "peak memory",
			of:     func(r round) float64 { return float64(r.peak) },
			format: func(v float64) string { return fmt.Sprintf("%.0f MB", v/1e6) },
		},
	}
}

func microseconds(v float64) string { return fmt.Sprintf("%.0f µs", v) }

func milliseconds(v float64) string { return fmt.Sprintf("%.2f ms", v/1000) }

// quantile returns the latency in µs that a share of the admissions does not exceed.
func (l load) quantile(share float64) float64 {
	return quantiles(toMicroseconds(l.latencies), share)[0]
}

func toMicroseconds(durations []time.Duration) []float64 {
	values := make([]float64, len(durations))
	for n, d := range durations {
		values[n] = float64(d) / float64(time.Microsecond)
	}
	return values
}

// quantiles returns, for each share, the smallest value that this share of the values
// does not exceed.
func quantiles(values []float64, shares ...float64) []float64 {
	sorted := slices.Sorted(slices.Values(values))
	found := make([]float64, len(shares))
	for n, share := range shares {
		found[n] = stat.Quantile(share, stat.Empirical, sorted, nil)
	}
	return found
}

// median returns the median: for an even number, the mean of the two middle values.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// values maps the keys of measures to figures.
type values map[string]float64

func valuesOf(r round) values {
	v := values{}
	for _, m := range measures() {
		v[m.key] = m.of(r)
	}
	return v
}

// medians returns the median of each figure.
func medians(all []values) values {
	v := values{}
	for _, m := range measures() {
		var of []float64
		for _, one := range all {
			of = append(of, one[m.key])
		}
		v[m.key] = median(of)
	}
	return v
}

// ratios returns the medians of the ratios to the floor, computed round by round: other
// load on the machine in a round affects both.
func ratios(rounds, floor []values) values {
	var all []values
	for n := range rounds {
		ratio := values{}
		for _, m := range measures() {
			ratio[m.key] = rounds[n][m.key] / floor[n][m.key]
		}
		all = append(all, ratio)
	}
	return medians(all)
}
