package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
)

// The lines before and after the table of releases in docs/compatibility.md.
const (
	tableBegin = "<!-- make conformance writes this table -->\n"
	tableEnd   = "<!-- end of the table -->\n"
	tableHead  = "| Kubernetes | API server tested |\n|---|---|\n"
	// notTested is the cell of a minor version that has not been tested yet.
	notTested = "not tested yet"
)

// record writes the table in a file, with a row per supported release. A release is marked
// as tested if the table already had it or if it is in tested.
func record(path string, supported releases, tested ...release) error {
	content, err := os.ReadFile(path) // #nosec G304 -- docs/compatibility.md
	if err != nil {
		return err
	}
	page, err := cutTable(content)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	tested = append(tested, page.tested...)
	var table strings.Builder
	table.WriteString(tableHead)
	for _, r := range supported {
		result := notTested
		if slices.Contains(tested, r) {
			result = r.String()
		}
		fmt.Fprintf(&table, "| %s | %s |\n", r.minorVersion(), result)
	}
	return os.WriteFile(path, []byte(page.before+table.String()+page.after), 0o644) // #nosec G306 -- as git makes it
}

// tablePage is a page with a table of releases.
type tablePage struct {
	before, after string
	// minors are the minor versions in the table.
	minors []string
	// tested are the tested releases.
	tested releases
}

func cutTable(content []byte) (tablePage, error) {
	var page tablePage
	before, rest, begins := strings.Cut(string(content), tableBegin)
	table, after, ends := strings.Cut(rest, tableEnd)
	if !begins || !ends {
		return page, fmt.Errorf("no table between %q and %q", tableBegin, tableEnd)
	}
	page.before, page.after = before+tableBegin, tableEnd+after
	rows, ok := strings.CutPrefix(table, tableHead)
	if !ok {
		return page, fmt.Errorf("the table does not start with %q", tableHead)
	}
	for line := range strings.Lines(rows) {
		minor, result, _ := strings.Cut(strings.Trim(line, "| \n"), " | ")
		page.minors = append(page.minors, minor)
		if result == notTested {
			continue
		}
		r, err := parseRelease(result)
		if err != nil {
			return page, err
		}
		if r.minorVersion() != minor {
			return page, fmt.Errorf("row %q has a release of another minor version", line)
		}
		page.tested = append(page.tested, r)
	}
	return page, nil
}
