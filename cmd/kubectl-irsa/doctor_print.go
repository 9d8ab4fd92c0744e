package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/fatih/color"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/doctor"
)

// textPrinter writes a result as text.
type textPrinter = func(io.Writer) error

// colorizer colors text by status.
type colorizer map[doctor.Status]func(...any) string

func (o *options) colorizer() colorizer {
	return colorizer{
		doctor.OK:      o.colorize(color.FgGreen),
		doctor.Warning: o.colorize(color.FgYellow),
		doctor.Broken:  o.colorize(color.FgRed),
		doctor.Unknown: o.colorize(color.FgCyan),
		doctor.Skipped: o.colorize(color.Faint),
	}
}

// statusSymbols are the symbols of the statuses in text output.
var statusSymbols = map[doctor.Status]string{
	doctor.OK: "✓", doctor.Warning: "!", doctor.Broken: "✗", doctor.Unknown: "?", doctor.Skipped: "-",
}

// mark returns the colored symbol of a status.
func (p colorizer) mark(status doctor.Status) string { return p[status](statusSymbols[status]) }

// findingPrinter writes findings as text.
type findingPrinter struct {
	colorize colorizer
	// evidence prints the evidence. problems omits findings that are OK or Skipped.
	evidence, problems bool
}

func (d *doctorOptions) findingPrinter() findingPrinter {
	return findingPrinter{d.colorizer(), d.evidence, d.problems}
}

// includes reports whether a finding is printed.
func (s findingPrinter) includes(f doctor.Finding) bool {
	return !s.problems || f.Status != doctor.OK && f.Status != doctor.Skipped
}

// codeWidth is the width of the longest code.
const codeWidth = len("webhook_failure_policy")

// reportText writes the report of one ServiceAccount.
type reportText struct {
	findingPrinter
	report doctor.Report
}

func (t reportText) write(out io.Writer) error {
	r := t.report
	switch {
	case r.ServiceAccount == "":
		fmt.Fprintf(out, "Pod %s/%s: %s\n", r.Namespace, r.Pod, t.colorize[r.Status](r.Status))
	case r.Pod != "":
		fmt.Fprintf(out, "Pod %s/%s, ServiceAccount %s, %s: %s\n", r.Namespace, r.Pod, r.ServiceAccount, roleOf(r), t.colorize[r.Status](r.Status))
	default:
		fmt.Fprintf(out, "ServiceAccount %s/%s, %s, %s: %s\n", r.Namespace, r.ServiceAccount, roleOf(r), podsOf(r), t.colorize[r.Status](r.Status))
	}
	t.writeFindings(out, r.Findings)
	fmt.Fprintf(out, "\n%s\n", summary(r.Findings))
	return nil
}

func roleOf(r doctor.Report) string {
	if r.Role == "" {
		return "no role"
	}
	return "role " + printable(r.Role)
}

func podsOf(r doctor.Report) string {
	switch {
	case r.PodsUnreadable:
		return "pods unreadable"
	case r.Pods == 1:
		return "1 pod"
	default:
		return fmt.Sprintf("%d pods", r.Pods)
	}
}

// writeFindings writes findings under the names of their steps.
func (s findingPrinter) writeFindings(out io.Writer, findings []doctor.Finding) {
	heading := ""
	for _, f := range findings {
		if !s.includes(f) {
			continue
		}
		title := string(f.Step)
		if f.Object != "" {
			title += " " + strings.TrimPrefix(f.Object, "pod/")
		}
		if title != heading {
			fmt.Fprintf(out, "\n%s\n", title)
			heading = title
		}
		fmt.Fprintf(out, "  %s %-*s  %s\n", s.colorize.mark(f.Status), codeWidth, f.Check, printable(f.Summary))
		if f.Why != "" && f.Status != doctor.Skipped {
			fmt.Fprintf(out, "      %s\n", printable(f.Why))
		}
		if f.Fix != "" {
			fmt.Fprintf(out, "      fix: %s\n", printable(f.Fix))
		}
		if !s.evidence {
			continue
		}
		for _, fact := range f.Evidence {
			fmt.Fprintf(out, "      %s: %s\n", fact.Name, printable(fact.Value))
		}
	}
}

// printable replaces control characters: text from cluster objects must not control the
// terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// summary returns the number of findings per status.
func summary(findings []doctor.Finding) string {
	count := map[doctor.Status]int{}
	for _, f := range findings {
		count[f.Status]++
	}
	var parts []string
	for _, status := range []doctor.Status{doctor.Broken, doctor.Unknown, doctor.Warning, doctor.OK, doctor.Skipped} {
		if count[status] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", count[status], status))
		}
	}
	return strings.Join(parts, ", ")
}

// clusterText writes the report of a cluster: the shared findings, and a table of
// ServiceAccounts.
type clusterText struct {
	findingPrinter
	report doctor.ClusterReport
}

func (t clusterText) write(out io.Writer) error {
	fmt.Fprintf(out, "Cluster: %s\n", t.colorize[t.report.Status](t.report.Status))
	t.writeFindings(out, t.report.Findings)
	fmt.Fprintln(out)
	if len(t.report.ServiceAccounts) == 0 {
		_, err := fmt.Fprintln(out, "No readable ServiceAccount has a role.")
		return err
	}
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "NAMESPACE\tSERVICEACCOUNT\tROLE\tPODS\tSTATUS")
	for _, r := range t.report.ServiceAccounts {
		role := printable(r.Role)
		if role == "" {
			role = "<none>"
		}
		pods := strconv.Itoa(r.Pods)
		if r.PodsUnreadable {
			pods = "?"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s %s\n", r.Namespace, r.ServiceAccount, role, pods, t.colorize.mark(r.Status), statusOf(r))
	}
	return table.Flush()
}

// statusOf returns the status, and unless it is OK the checks that have this status.
func statusOf(r doctor.Report) string {
	if r.Status == doctor.OK {
		return string(r.Status)
	}
	var codes []string
	for _, f := range r.Findings {
		if code := string(f.Check); f.Status == r.Status && !slices.Contains(codes, code) {
			codes = append(codes, code)
		}
	}
	return string(r.Status) + ": " + strings.Join(codes, ", ")
}
