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

// figure is a column of the table.
type figure struct {
	title string
	of    func(memoryUsage) float64
	// format formats the figure. each formats the increase per ServiceAccount.
	format, each func(float64) string
}

// figures returns the columns of the table, in order.
func figures() []figure {
	return []figure{
		{"ready after", memoryUsage.ready, seconds, secondsEach},
		{"CPU until ready", memoryUsage.cpu, seconds, secondsEach},
		{"peak memory", memoryUsage.peak, megabytes, bytesEach},
		{"idle memory", memoryUsage.resident, megabytes, bytesEach},
		{"idle CPU per minute", memoryUsage.idleCPU, seconds, secondsEach},
		{"received", memoryUsage.received, megabytes, bytesEach},
	}
}

// ready returns the median time until the webhook is ready, in seconds.
func (f memoryUsage) ready() float64 {
	return f.median(func(s start) float64 { return s.ready.Seconds() })
}

func (f memoryUsage) cpu() float64 {
	return f.median(func(s start) float64 { return s.cpu.Seconds() })
}

// peak returns the median peak memory in bytes.
func (f memoryUsage) peak() float64 {
	return f.median(func(s start) float64 { return float64(s.peak) })
}

func (f memoryUsage) received() float64 {
	return f.median(func(s start) float64 { return float64(s.received) })
}

func (f memoryUsage) resident() float64 { return float64(f.idleUsage.resident) }

// idleCPU returns the CPU time when idle, in seconds per minute.
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

// others returns the highest share of the machine that other processes used.
func (f memoryUsage) others() float64 {
	most := f.idleUsage.others
	for _, s := range f.starts {
		most = max(most, s.others)
	}
	return most
}

func seconds(v float64) string { return fmt.Sprintf("%.2f s", v) }

// Adding 0 turns -0 into 0: a figure that does not grow may be slightly lower.
func secondsEach(v float64) string { return fmt.Sprintf("%.1f µs", math.Round(1e7*v)/10+0) }

func megabytes(v float64) string { return fmt.Sprintf("%.1f MB", v/1e6) }

func bytesEach(v float64) string { return fmt.Sprintf("%.0f B", math.Round(v)+0) }

// costPerServiceAccount returns the increase of a figure per ServiceAccount. It is the slope
// of the least-squares line through two or more sizes.
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
		row := []string{"each additional"}
		for _, figure := range figures() {
			row = append(row, figure.each(costPerServiceAccount(footprints, figure.of)))
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(w, "%s; with %s; 1 ServiceAccount in %d has a role; medians of %d starts; idle figures are of the last start, over %s\n\n",
		machine, strings.Join(environment, " "), withRole, len(footprints[0].starts), footprints[0].idleUsage.took)
	writeMarkdown(w, rows)
	writeQuiet(w, others)
}

// plotFootprints draws the memory and the start times over the number of ServiceAccounts.
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
			Title: "Memory of the webhook", Y: "MB",
			Lines: []plots.Line{
				line("peak, while it starts", memoryUsage.peak, 1e6),
				line("idle, after the start", memoryUsage.resident, 1e6),
			},
		},
		"startup.svg": {
			Title: "Time until the webhook is ready", Y: "seconds",
			Lines: []plots.Line{line("time until ready", memoryUsage.ready, 1), line("CPU time until ready", memoryUsage.cpu, 1)},
		},
	} {
		p.X, p.Note, p.LogX, p.YFromZero = "ServiceAccounts in the cluster", note, true, true
		if err := p.Write(filepath.Join(dir, file)); err != nil {
			return err
		}
	}
	return nil
}
