package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/plot/plotter"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/bench/plots"
)

// figure is one of a footprint.
type figure struct {
	title string
	of    func(footprint) float64
	// format is for the figure, and perAccount for what a ServiceAccount adds to it.
	format, perAccount func(float64) string
}

// figures are those of the table, in its order. Times are in seconds, and memory in
// bytes.
func figures() []figure {
	ofStarts := func(of func(start) float64) func(footprint) float64 {
		return func(f footprint) float64 {
			var all []float64
			for _, s := range f.starts {
				all = append(all, of(s))
			}
			return median(all)
		}
	}
	return []figure{
		{"ready after", ofStarts(func(s start) float64 { return s.ready.Seconds() }), seconds, secondsEach},
		{"CPU until ready", ofStarts(func(s start) float64 { return s.cpu.Seconds() }), seconds, secondsEach},
		{"memory at peak", ofStarts(func(s start) float64 { return float64(s.peak) }), megabytes, bytesEach},
		{"memory idle", func(f footprint) float64 { return float64(f.idling.resident) }, megabytes, bytesEach},
		{"CPU idle", func(f footprint) float64 { return f.idling.cpu.Seconds() / f.idling.took.Seconds() }, percent, percentEach},
		{"received", ofStarts(func(s start) float64 { return float64(s.received) }), megabytes, bytesEach},
	}
}

func seconds(v float64) string { return fmt.Sprintf("%.2f s", v) }

func secondsEach(v float64) string { return fmt.Sprintf("%.1f µs", 1e6*v) }

func megabytes(v float64) string { return fmt.Sprintf("%.1f MB", v/1e6) }

func bytesEach(v float64) string { return fmt.Sprintf("%.0f B", v) }

func percent(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) }

func percentEach(v float64) string { return fmt.Sprintf("%.7f %%", 100*v) }

// growth is by how much a figure grows with each ServiceAccount: the slope of the
// line that fits best. Of fewer than two sizes there is none.
func growth(footprints []footprint, of func(footprint) float64) (slope float64, ok bool) {
	if len(footprints) < 2 {
		return 0, false
	}
	var accounts, figures []float64
	for _, f := range footprints {
		accounts = append(accounts, float64(f.accounts))
		figures = append(figures, of(f))
	}
	_, slope = stat.LinearRegression(accounts, figures, nil, false)
	return slope, true
}

func writeFootprints(w io.Writer, machine machine, environment []string, footprints []footprint) {
	header := []string{"ServiceAccounts"}
	each := []string{"each one more"}
	for _, figure := range figures() {
		header = append(header, figure.title)
		slope, ok := growth(footprints, figure.of)
		if !ok {
			continue
		}
		each = append(each, figure.perAccount(slope))
	}
	rows := [][]string{header}
	others := 0.0
	for _, f := range footprints {
		row := []string{strconv.Itoa(f.accounts)}
		for _, figure := range figures() {
			row = append(row, figure.format(figure.of(f)))
		}
		rows = append(rows, row)
		for _, s := range f.starts {
			others = max(others, s.others)
		}
		others = max(others, f.idling.others)
	}
	if len(each) > 1 {
		rows = append(rows, each)
	}
	fmt.Fprintf(w, "%s; with %q; 1 ServiceAccount in %d has a role; medians of %d starts, and of the last what it takes idle, for %s\n\n",
		machine, environment, withRole, len(footprints[0].starts), footprints[0].idling.took)
	writeMarkdown(w, rows)
	writeQuiet(w, others)
}

// plotFootprints draws the memory and the starts by the number of ServiceAccounts.
func plotFootprints(dir string, machine machine, footprints []footprint) error {
	line := func(title, name string, unit float64) plots.Line {
		all := figures()
		of := all[slices.IndexFunc(all, func(f figure) bool { return f.title == title })].of
		points := make(plotter.XYs, len(footprints))
		for n, f := range footprints {
			points[n].X, points[n].Y = float64(f.accounts), of(f)/unit
		}
		return plots.Line{Name: name, Points: points}
	}
	note := fmt.Sprintf("1 in %d has a role, medians of %d starts, %s", withRole, len(footprints[0].starts), machine)
	for file, p := range map[string]plots.Plot{
		"memory.svg": {
			Title: "How much memory the webhook takes", Y: "MB",
			Lines: []plots.Line{
				line("memory at peak", "at most, while it starts", 1e6),
				line("memory idle", fmt.Sprintf("idle, after %s", footprints[0].idling.took.Round(time.Second)), 1e6),
			},
		},
		"startup.svg": {
			Title: "How long the webhook takes to be ready", Y: "seconds",
			Lines: []plots.Line{line("ready after", "until it is ready", 1), line("CPU until ready", "CPU time, of all cores together", 1)},
		},
	} {
		p.X, p.Note, p.LogX, p.YFromZero = "ServiceAccounts in the cluster", note, true, true
		if err := p.Write(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}
