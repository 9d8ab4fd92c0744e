package main

import (
	"fmt"
	"math"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/bench/plots"
)

// plotLatencies draws the latencies of each server over all rounds.
func plotLatencies(dir string, machine machine, candidates []benchTarget, rounds map[string][]round) error {
	p := plots.Plot{
		LegendBelow: true, Title: "Latency of an admission",
		X: "share of the admissions that took no longer", Y: "milliseconds",
		XTicks: shareTicks(), LogX: true, LogY: true,
	}
	for _, c := range candidates {
		var all []float64
		for _, r := range rounds[c.name] {
			all = append(all, toMicroseconds(r.latencies)...)
		}
		p.Lines = append(p.Lines, plots.Line{Name: c.name, Points: distribution(all)})
	}
	p.Note = fmt.Sprintf("%d requests in flight, %s", inFlight, machine)
	return p.Write(filepath.Join(dir, "latency.svg"))
}

// The plot ends at the slowest of 1,000 admissions and has this number of points.
const (
	slowest    = 1000
	plotPoints = 120
)

// distribution returns the points of a line: y is the latency in ms that all but one in x
// admissions do not exceed. This scale widens the tail, which matters most.
func distribution(microseconds []float64) plotter.XYs {
	points := make(plotter.XYs, plotPoints)
	shares := make([]float64, plotPoints)
	for n := range points {
		points[n].X = math.Pow(slowest, float64(n)/(plotPoints-1))
		shares[n] = 1 - 1/points[n].X
	}
	for n, v := range quantiles(microseconds, shares...) {
		points[n].Y = v / 1000
	}
	return points
}

// shareTicks are the axis labels for the values of x in distribution.
func shareTicks() []plot.Tick {
	return []plot.Tick{
		{Value: 1, Label: "fastest"},
		{Value: 2, Label: "50 %"},
		{Value: 10, Label: "90 %"},
		{Value: 100, Label: "99 %"},
		{Value: 1000, Label: "99.9 %"},
	}
}
