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

// tolerance is the maximum relative regression of a ratio from the recorded one.
const tolerance = .2

func recordedFile() string { return repopath.Path("test", "bench", "recorded.json") }

// baseline is the recorded performance.
type baseline struct {
	// Machine is the machine of the measurement.
	Machine machine `json:"machine"`
	// Ratios are the ratios to the floor, by the name of the server.
	Ratios map[string]values `json:"ratios"`
}

// newBaseline returns the baseline of a report, without the floor itself and optional
// measurements.
func newBaseline(r report) baseline {
	kept := baseline{Machine: r.Machine, Ratios: map[string]values{}}
	for _, measured := range r.Results[1:] {
		if measured.optional {
			continue
		}
		ratios := values{}
		for _, m := range measures() {
			// The duration of a live read depends on the API server.
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
		return fmt.Errorf("encode baseline: %w", err)
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

// errRegression is the error for a ratio that is worse than the recorded one.
var errRegression = errors.New("a ratio to the floor is more than 20 % worse than the recorded one; if that is intended, run make bench-baseline")

// compare prints each ratio next to the recorded one. It returns errRegression if one is
// worse by more than the tolerance, and another error if one is missing on either side.
func compare(w io.Writer, before, now baseline) error {
	rows := [][]string{{"", "ratio", "recorded", "now", "worse by", ""}}
	var err error
	for server := range before.Ratios {
		if _, ok := now.Ratios[server]; !ok {
			return fmt.Errorf("%s is recorded but was not measured; run make bench-baseline", server)
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
				return fmt.Errorf("%s of %s is not recorded; run make bench-baseline", m.title, server)
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

// regression returns the relative change from before to now, positive if now is worse.
func regression(m measure, before, now float64) float64 {
	if m.more {
		return before/now - 1
	}
	return now/before - 1
}
