package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
)

// The table of releases is between these lines of docs/compatibility.md.
const (
	tableBegin = "<!-- make conformance writes this table -->\n"
	tableEnd   = "<!-- end of the table -->\n"
	tableHead  = "| Kubernetes | API server tested |\n|---|---|\n"
)

// record adds a release to the table in a file, in place of another of its minor.
func record(path string, r release) error {
	content, err := os.ReadFile(path) // #nosec G304 -- docs/compatibility.md
	if err != nil {
		return err
	}
	before, rows, after, err := cutTable(content)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	rows = slices.DeleteFunc(rows, func(row release) bool { return row.minor == r.minor })
	rows = append(rows, r)
	slices.SortFunc(rows, func(a, b release) int { return a.minor - b.minor })
	var table strings.Builder
	table.WriteString(tableHead)
	for _, row := range rows {
		fmt.Fprintf(&table, "| %s | %s |\n", row.minorVersion(), row)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(table.String()), after), 0o644) // #nosec G306 -- as git makes it
}

// cutTable returns the releases in the table of a page, and what is around it.
func cutTable(page []byte) (before []byte, rows releases, after []byte, err error) {
	begin := bytes.Index(page, []byte(tableBegin))
	end := bytes.Index(page, []byte(tableEnd))
	if begin < 0 || end < begin {
		return nil, nil, nil, fmt.Errorf("no table between %q and %q", tableBegin, tableEnd)
	}
	begin += len(tableBegin)
	table, ok := strings.CutPrefix(string(page[begin:end]), tableHead)
	if !ok {
		return nil, nil, nil, fmt.Errorf("the table does not begin with %q", tableHead)
	}
	for line := range strings.Lines(table) {
		minor, version, _ := strings.Cut(strings.Trim(line, "| \n"), " | ")
		row, err := parseRelease(version)
		if err != nil {
			return nil, nil, nil, err
		}
		if row.minorVersion() != minor {
			return nil, nil, nil, fmt.Errorf("row %q is not of one minor", line)
		}
		rows = append(rows, row)
	}
	return page[:begin], rows, page[end:], nil
}
