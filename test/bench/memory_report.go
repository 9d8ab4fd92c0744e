package main

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/plot/plotter"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/bench/plots"
)

// figure is one of a footprint.
type figure struct {
	title string
	of    func(memoryUsage) float64
	// format is for the figure, and each for what a ServiceAccount adds to it.
	format, each func(float64) string
}

// figures are those of the table, in its order.
func figures() []figure {
	return []figure{
		{"ready after", memoryUsage.ready, seconds, secondsEach},
		{"CPU until ready", memoryUsage.cpu, seconds, secondsEach},
		{"memory at peak", memoryUsage.peak, megabytes, bytesEach},
		{"memory idle", memoryUsage.resident, megabytes, bytesEach},
		{"CPU idle, a minute", memoryUsage.idleCPU, seconds, secondsEach},
		{"received", memoryUsage.received, megabytes, bytesEach},
	}
}

// ready is in seconds, as cpu is.
func (f memoryUsage) ready() float64 {
	return f.median(func(s start) float64 { return s.ready.Seconds() })
}

func (f memoryUsage) cpu() float64 {
	return f.median(func(s start) float64 { return s.cpu.Seconds() })
}

// peak is in bytes, as received and resident are.
func (f memoryUsage) peak() float64 {
	return f.median(func(s start) float64 { return float64(s.peak) })
}

func (f memoryUsage) received() float64 {
	return f.median(func(s start) float64 { return float64(s.received) })
}

func (f memoryUsage) resident() float64 { return float64(f.idleUsage.resident) }

// idleCPU is in seconds of each minute.
func (f memoryUsage) idleCPU() float64 {
	return f.idleUsage.cpu.Seconds() / f.idleUsage.took.Minutes()
}

func (f memoryUsage) median(of func(start) float64) float64 {
	var all []float64
	for _, s := range f.starts {
		all = append(all, of(s))
	}
	return median(all)
}

// others is the greatest share of the machine that others had meanwhile.
func (f memoryUsage) others() float64 {
	most := f.idleUsage.others
	for _, s := range f.starts {
		most = max(most, s.others)
	}
	return most
}

func seconds(v float64) string { return fmt.Sprintf("%.2f s", v) }

// What is added makes a 0 of a -0, as a figure that does not grow may fall by little.
func secondsEach(v float64) string { return fmt.Sprintf("%.1f µs", math.Round(1e7*v)/10+0) }

func megabytes(v float64) string { return fmt.Sprintf("%.1f MB", v/1e6) }

func bytesEach(v float64) string { return fmt.Sprintf("%.0f B", math.Round(v)+0) }

// costPerServiceAccount is by how much a figure grows with each ServiceAccount: the slope of the
// line that fits best through two sizes or more.
func costPerServiceAccount(footprints []memoryUsage, of func(memoryUsage) float64) float64 {
	var accounts, figures []float64
	for _, f := range footprints {
		accounts = append(accounts, float64(f.accounts))
		figures = append(figures, of(f))
	}
	_, slope := stat.LinearRegression(accounts, figures, nil, false)
	return slope
}

func writeFootprints(w io.Writer, machine machine, environment []string, footprints []memoryUsage) {
	header := []string{"ServiceAccounts"}
	for _, figure := range figures() {
		header = append(header, figure.title)
	}
	rows := [][]string{header}
	others := 0.0
	for _, f := range footprints {
		row := []string{strconv.Itoa(f.accounts)}
		for _, figure := range figures() {
			row = append(row, figure.format(figure.of(f)))
		}
		rows = append(rows, row)
		others = max(others, f.others())
	}
	if len(footprints) > 1 {
		row := []string{"each one more"}
		for _, figure := range figures() {
			row = append(row, figure.each(costPerServiceAccount(footprints, figure.of)))
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(w, "%s; with %s; 1 ServiceAccount in %d has a role; medians of %d starts, and of the last what it takes idle, for %s\n\n",
		machine, strings.Join(environment, " "), withRole, len(footprints[0].starts), footprints[0].idleUsage.took)
	writeMarkdown(w, rows)
	writeQuiet(w, others)
}

// plotFootprints draws the memory and the starts by the number of ServiceAccounts.
func plotFootprints(dir string, machine machine, footprints []memoryUsage) error {
	line := func(name string, of func(memoryUsage) float64, unit float64) plots.Line {
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
				line("at most, while it starts", memoryUsage.peak, 1e6),
				line("from then on, idle", memoryUsage.resident, 1e6),
			},
		},
		"startup.svg": {
			Title: "How long the webhook takes to be ready", Y: "seconds",
			Lines: []plots.Line{line("until it is ready", memoryUsage.ready, 1), line("CPU time until then", memoryUsage.cpu, 1)},
		},
	} {
		p.X, p.Note, p.LogX, p.YFromZero = "ServiceAccounts in the cluster", note, true, true
		if err := p.Write(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}
