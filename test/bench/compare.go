package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// tolerance is how much worse a ratio may be than the recorded one.
const tolerance = .2

func recordedFile() string { return repopath.Path("test", "bench", "recorded.json") }

// baseline is the performance that is to stay.
type baseline struct {
	// Machine is where it was measured.
	Machine machine `json:"machine"`
	// Ratios are those to the floor, by the name of the server.
	Ratios map[string]values `json:"ratios"`
}

// newBaseline leaves out what is not always measured, and the floor itself.
func newBaseline(r report) baseline {
	kept := baseline{Machine: r.Machine, Ratios: map[string]values{}}
	for _, measured := range r.Results[1:] {
		if measured.optional {
			continue
		}
		ratios := values{}
		for _, m := range measures() {
			// How long a live read takes is for the API server to say.
			if !measured.live || !m.waits {
				ratios[m.key] = math.Round(measured.Ratio[m.key]*1000) / 1000
			}
		}
		kept.Ratios[measured.Server] = ratios
	}
	return kept
}

func (r baseline) write(path string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode what is recorded: %w", err)
	}
	return os.WriteFile(path, append(text, '\n'), 0o644) //nolint:gosec // a file of the repository
}

func readBaseline(path string) (baseline, error) {
	text, err := os.ReadFile(path) //nolint:gosec // a file of the repository
	if err != nil {
		return baseline{}, err
	}
	var r baseline
	if err := json.Unmarshal(text, &r); err != nil {
		return baseline{}, fmt.Errorf("read %s: %w", path, err)
	}
	return r, nil
}

// errRegression says that something has got worse.
var errRegression = errors.New("a ratio to the floor is more than 20 % worse than the recorded one; if that is meant to be, make bench-baseline")

// compare prints each ratio beside the recorded one. The error is errWorse if one
// is worse by more than the tolerance, and another if one is missing on either side.
func compare(w io.Writer, before, now baseline) error {
	rows := [][]string{{"", "ratio", "recorded", "now", "worse by", ""}}
	var err error
	for server := range before.Ratios {
		if _, ok := now.Ratios[server]; !ok {
			return fmt.Errorf("%s is recorded and was not measured: make bench-baseline", server)
		}
	}
	for _, server := range slices.Sorted(maps.Keys(now.Ratios)) {
		ratios := now.Ratios[server]
		for _, m := range measures() {
			is, measured := ratios[m.key]
			if !measured {
				continue
			}
			was, ok := before.Ratios[server][m.key]
			if !ok {
				return fmt.Errorf("%s of %s is not recorded: make bench-baseline", m.title, server)
			}
			by := regression(m, was, is)
			verdict := ""
			if by > tolerance {
				verdict, err = "WORSE", errRegression
			}
			rows = append(rows, []string{server, m.title, fmt.Sprintf("%.2fx", was), fmt.Sprintf("%.2fx", is), fmt.Sprintf("%+.0f %%", 100*by), verdict})
		}
	}
	fmt.Fprintf(w, "\nrecorded on %s\n\n", before.Machine)
	writeMarkdown(w, rows)
	return err
}

// regression is the share by which now is worse than before, below 0 if it is better.
func regression(m measure, before, now float64) float64 {
	if m.more {
		return before/now - 1
	}
	return now/before - 1
}
