package main

import (
	"fmt"
	"slices"
	"time"

	"gonum.org/v1/gonum/stat"
)

// round is what was measured of one server in one go.
type round struct {
	load
	cpu  time.Duration // of the server, for all admissions together
	peak uint64        // most memory that the server ever had, bytes
	// reads is how many ServiceAccounts were read live for each admission.
	reads float64
	// others is the share of the machine that neither the server nor who asks it had.
	others float64
}

// measure is one figure of a round.
type measure struct {
	// key names it in JSON, with its unit.
	key, title string
	of         func(round) float64
	format     func(float64) string
	// more says that more is better.
	more bool
	// waits says that it is also that of whatever the server waits for.
	waits bool
}

// measures are those of the table, in its order.
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
			key: "answerBytes", title: "answer",
			of:     func(r round) float64 { return float64(r.answerBytes) / float64(len(r.latencies)) },
			format: func(v float64) string { return fmt.Sprintf("%.1f KB", v/1000) },
		},
		{
			key: "peakBytes", title: "memory at peak",
			of:     func(r round) float64 { return float64(r.peak) },
			format: func(v float64) string { return fmt.Sprintf("%.0f MB", v/1e6) },
		},
	}
}

func microseconds(v float64) string { return fmt.Sprintf("%.0f µs", v) }

func milliseconds(v float64) string { return fmt.Sprintf("%.2f ms", v/1000) }

// quantile is the latency in µs that a share of the admissions does not exceed.
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

// quantiles are, for each share, the smallest of the values that this share of them
// does not exceed.
func quantiles(values []float64, shares ...float64) []float64 {
	sorted := slices.Sorted(slices.Values(values))
	found := make([]float64, len(shares))
	for n, share := range shares {
		found[n] = stat.Quantile(share, stat.Empirical, sorted, nil)
	}
	return found
}

// median is the middle of the values, of two the mean.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// values are figures by the key of their measure.
type values map[string]float64

func valuesOf(r round) values {
	v := values{}
	for _, m := range measures() {
		v[m.key] = m.of(r)
	}
	return v
}

// medians takes the median of each figure.
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

// ratios are the medians of the ratios to the floor round by round: what the
// machine did beside in one round was done to both.
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
