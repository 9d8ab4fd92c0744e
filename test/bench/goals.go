package main

import (
	"errors"
	"fmt"
	"io"
)

// The goals, as ratios within one run.
const (
	// cachedWebhook is the target that maxCachedCPU is of.
	cachedWebhook = "webhook, cached"
	// maxCachedCPU is that of an admission's CPU to the floor's, without live reads.
	maxCachedCPU = 2.3
	// maxLiveCPU is that of an admission's CPU to the floor's.
	maxLiveCPU = 3.2
	// maxLiveCPUToReading is that of an admission's CPU to that of readingFloor, which no
	// webhook with live reads gets below.
	maxLiveCPUToReading = 2.3
	// maxLiveP99 is that of the 99th percentile of pod creation to the one with
	// --service-account-lookup=cached.
	maxLiveP99 = 1.5
	// minLiveReads is how many reads an admission has at least where no other shares
	// its read.
	minLiveReads = .99
)

// errGoal says that a goal is missed.
var errGoal = errors.New("a goal is missed")

// goal is a figure with its bound.
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

// goals returns those of a report.
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
			name: fmt.Sprintf("p99 of pod creation by %d ServiceAccounts, live to cached", c.Accounts), got: c.ratio(), bound: maxLiveP99, unit: "x",
		})
	}
	return goals
}

// checkGoals prints the goals. The error is errGoal if one is missed.
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
