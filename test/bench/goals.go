package main

import (
	"errors"
	"fmt"
	"io"
)

// The goals of ratios within one run.
const (
	// cachedWebhook is the target of maxCachedCPU.
	cachedWebhook = "webhook, cached"
	// maxCachedCPU is the maximum CPU per admission without live reads, relative to the floor.
	maxCachedCPU = 2.3
	// maxLiveCPU is the maximum CPU per admission with live reads, relative to the floor.
	maxLiveCPU = 3.2
	// maxLiveCPUToReading is the maximum CPU per admission with live reads, relative to
	// readingFloor, the lower limit for webhooks with live reads.
	maxLiveCPUToReading = 2.3
	// maxLiveP99 is the maximum 99th percentile of pod creation, relative to the one with
	// --service-account-lookup=cached.
	maxLiveP99 = 1.5
	// minLiveReads is the minimum number of reads per admission if no other admission
	// shares the read.
	minLiveReads = .99
)

// errGoal is the error for a missed goal.
var errGoal = errors.New("a goal is missed")

// goal is a figure with its limit.
type goal struct {
	name       string
	got, bound float64
	unit       string
	atLeast    bool
}

func (g goal) reached() bool {
	if g.atLeast {
		return g.got >= g.bound
	}
	return g.got <= g.bound
}

// goals returns the goals of a report.
func (r report) goals() []goal {
	var goals []goal
	for _, measured := range r.Results {
		if measured.Server == cachedWebhook {
			goals = append(goals, goal{name: measured.Server + ", CPU per admission to the floor's", got: measured.Ratio["cpuMicroseconds"], bound: maxCachedCPU, unit: "x"})
		}
		if measured.live {
			goals = append(goals,
				goal{name: measured.Server + ", reads per admission", got: measured.LiveReads, bound: minLiveReads, atLeast: true},
				goal{name: measured.Server + ", CPU per admission to the floor's", got: measured.Ratio["cpuMicroseconds"], bound: maxLiveCPU, unit: "x"},
				goal{name: measured.Server + ", CPU per admission to that of the floor with reads", got: measured.RatioToReading, bound: maxLiveCPUToReading, unit: "x"})
		}
	}
	for _, c := range r.Creations {
		goals = append(goals, goal{
			name: fmt.Sprintf("p99 of pod creation with %d ServiceAccounts, live to cached", c.Accounts), got: c.ratio(), bound: maxLiveP99, unit: "x",
		})
	}
	return goals
}

// checkGoals prints the goals. It returns errGoal if one is missed.
func checkGoals(w io.Writer, goals []goal) error {
	rows := [][]string{{"goal", "measured", "bound", ""}}
	var err error
	for _, g := range goals {
		bound, verdict := "at most", ""
		if g.atLeast {
			bound = "at least"
		}
		if !g.reached() {
			verdict, err = "MISSED", errGoal
		}
		rows = append(rows, []string{g.name, fmt.Sprintf("%.2f%s", g.got, g.unit), fmt.Sprintf("%s %.2f%s", bound, g.bound, g.unit), verdict})
	}
	fmt.Fprintln(w)
	writeMarkdown(w, rows)
	return err
}
