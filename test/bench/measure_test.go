package main

import (
	"math"
	"testing"
	"time"
)

func TestMeasures_perAdmission(t *testing.T) {
	var latencies []time.Duration
	for n := 1; n <= 200; n++ { // in a mixed order
		latencies = append(latencies, time.Duration((n*77)%200+1)*time.Millisecond)
	}
	got := valuesOf(round{
		load: load{latencies: latencies, answerBytes: 200 * 1500, took: 4 * time.Second},
		cpu:  30 * time.Millisecond,
		peak: 50e6,
	})
	want := values{
		"cpuMicroseconds":     150, // 30 ms by 200
		"admissionsPerSecond": 50,
		"p50Microseconds":     100e3, // of 1 to 200 ms
		"p99Microseconds":     198e3,
		"answerBytes":         1500,
		"peakBytes":           50e6,
	}
	if len(got) != len(want) {
		t.Errorf("got %d measures, want %d", len(got), len(want))
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s: got %v, want %v", key, got[key], value)
		}
	}
}

func TestQuantiles(t *testing.T) {
	values := []float64{40, 10, 30, 20}
	for share, want := range map[float64]float64{0: 10, .25: 10, .26: 20, .5: 20, .75: 30, .99: 40, 1: 40} {
		if got := quantiles(values, share)[0]; got != want {
			t.Errorf("share %v: got %v, want %v", share, got, want)
		}
	}
	if values[0] != 40 {
		t.Error("quantiles sorted the caller's values")
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 2, 100}, 3},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v: got %v, want %v", test.values, got, test.want)
		}
	}
}

func TestRatios_sameRound(t *testing.T) {
	all := func(figures ...float64) []values {
		var rounds []values
		for _, figure := range figures {
			v := values{}
			for _, m := range measures() {
				v[m.key] = figure
			}
			rounds = append(rounds, v)
		}
		return rounds
	}
	// In the second round the machine had half the speed. In the third only the webhook was
	// slowed down.
	got := ratios(all(150, 300, 900), all(100, 200, 100))
	for _, m := range measures() {
		if math.Abs(got[m.key]-1.5) > 1e-9 {
			t.Errorf("%s: got %v, want 1.5", m.key, got[m.key])
		}
	}
}
