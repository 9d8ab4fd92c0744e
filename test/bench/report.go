package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/procfs"
)

// report is the result of all measurements.
type report struct {
	Machine machine  `json:"machine"`
	Results []result `json:"results"`
	// Creations are the durations of pod creations, by the number of ServiceAccounts.
	Creations []creation `json:"creations"`
	// Others is the highest share of the machine that other processes used.
	Others float64 `json:"others"`
}

// machine describes the machine of a measurement.
type machine struct {
	CPU      string `json:"cpu"`
	Cores    int    `json:"cores"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %d cores, %s, %s", m.CPU, m.Cores, m.Go, m.Platform)
}

// thisMachine returns a description of this machine. It needs /proc.
func thisMachine() (machine, error) {
	filesystem, err := procfs.NewDefaultFS()
	if err != nil {
		return machine{}, fmt.Errorf("bench needs Linux: %w", err)
	}
	cpus, err := filesystem.CPUInfo()
	if err != nil || len(cpus) == 0 {
		return machine{}, fmt.Errorf("read CPU model: %w", err)
	}
	return machine{
		CPU: cpus[0].ModelName, Cores: runtime.NumCPU(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}, nil
}

// result is the measurement of one server.
type result struct {
	Server string   `json:"server"`
	Rounds []values `json:"rounds"`
	Median values   `json:"median"`
	// Ratio is the ratio to the floor.
	Ratio values `json:"ratio"`
	// LiveReads is the number of live reads per admission.
	LiveReads float64 `json:"liveReads"`
	// RatioToReading is the ratio of the CPU per admission to that of readingFloor, for a
	// server with live reads.
	RatioToReading float64 `json:"ratioToReading,omitempty"`

	optional, live bool
}

// newReport summarizes the rounds of the candidates. The first candidate is the floor.
func newReport(machine machine, candidates []benchTarget, rounds map[string][]round) report {
	r := report{Machine: machine}
	var floor, reading []values
	for _, c := range candidates {
		measured := result{Server: c.name, optional: c.optional, live: c.live}
		var reads []float64
		for _, round := range rounds[c.name] {
			reads = append(reads, round.reads)
			measured.Rounds = append(measured.Rounds, valuesOf(round))
			r.Others = max(r.Others, round.others)
		}
		if floor == nil {
			floor = measured.Rounds
		}
		if c.name == readingFloor {
			reading = measured.Rounds
		}
		measured.Median, measured.Ratio = medians(measured.Rounds), ratios(measured.Rounds, floor)
		measured.LiveReads = median(reads)
		if c.live && reading != nil {
			measured.RatioToReading = ratios(measured.Rounds, reading)["cpuMicroseconds"]
		}
		r.Results = append(r.Results, measured)
	}
	return r
}

// writeTable prints the medians, each with its ratio to the floor.
func (r report) writeTable(w io.Writer) {
	header := []string{""}
	for _, m := range measures() {
		header = append(header, m.title)
	}
	rows := [][]string{header}
	for n, measured := range r.Results {
		row := []string{measured.Server}
		for _, m := range measures() {
			cell := m.format(measured.Median[m.key])
			if n > 0 {
				cell += fmt.Sprintf(" (%.2fx)", measured.Ratio[m.key])
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	fmt.Fprintf(w, "%s; HTTP/1.1 over %d keep-alive connections; medians of %d rounds, in brackets the ratio to the floor\n\n", r.Machine, inFlight, len(r.Results[0].Rounds))
	writeMarkdown(w, rows)
	writeQuiet(w, r.Others)
}

// quiet is the share of the machine above which other processes are reported. It
// includes the kernel's network processing.
const quiet = .1

// writeQuiet prints a warning if other processes used more than that.
func writeQuiet(w io.Writer, others float64) {
	if others > quiet {
		fmt.Fprintf(w, "\nNOT QUIET: other processes used up to %.0f %% of the CPU time; repeat the measurement without other load\n", 100*others)
	}
}

// writeMarkdown prints an aligned table. The first row is the header.
func writeMarkdown(w io.Writer, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for n, cell := range row {
			widths[n] = max(widths[n], len([]rune(cell)))
		}
	}
	rule := make([]string, len(widths))
	for n, width := range widths {
		rule[n] = strings.Repeat("-", max(width, 1))
	}
	for _, row := range slices.Insert(rows, 1, rule) {
		for n, cell := range row {
			fmt.Fprintf(w, "| %-*s ", widths[n], cell)
		}
		fmt.Fprintln(w, "|")
	}
}
