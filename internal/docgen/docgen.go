// Package docgen writes reference pages from code. Each caller is a test: it compares
// the page with what the code has, or writes the page if its flag -update is set.
package docgen

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// Note is the line below the title of a page that is generated as a whole.
const Note = "`make docs` generates this page from the code.\n"

// Check reports an error if the file at path differs from want. With update it writes
// the file instead.
func Check(t *testing.T, path, want string, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // documentation is for everyone
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path) //nolint:gosec // a page of the repository
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not current: run `make docs`", path)
	}
}

// CheckBlocks is Check for the generated blocks of the page at path, see Blocks.
func CheckBlocks(t *testing.T, path string, update bool, content func(name string) (string, error)) {
	t.Helper()
	page, err := os.ReadFile(path) //nolint:gosec // a page of the repository
	if err != nil {
		t.Fatal(err)
	}
	want, err := Blocks(string(page), content)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	Check(t, path, want, update)
}

const (
	blockStart, blockNameEnd = "<!-- make docs: ", " -->\n"
	blockEnd                 = "<!-- end of make docs -->\n"
)

// Blocks returns page with the content of each generated block replaced by the result
// of content for the name of the block. A block starts with the line
// "<!-- make docs: NAME -->" and ends with the line "<!-- end of make docs -->".
// It returns an error if a block has no end, or if content returns one.
func Blocks(page string, content func(name string) (string, error)) (string, error) {
	var result strings.Builder
	for {
		before, rest, found := strings.Cut(page, blockStart)
		result.WriteString(before)
		if !found {
			return result.String(), nil
		}
		name, rest, found := strings.Cut(rest, blockNameEnd)
		if !found {
			return "", fmt.Errorf("the line %q%.60s does not end with %q", blockStart, name, blockNameEnd)
		}
		_, after, found := strings.Cut(rest, blockEnd)
		if !found {
			return "", fmt.Errorf("block %q does not end with %q", name, blockEnd)
		}
		text, err := content(name)
		if err != nil {
			return "", fmt.Errorf("block %q: %w", name, err)
		}
		result.WriteString(blockStart + name + blockNameEnd + text + blockEnd)
		page = after
	}
}

// FlagRow is the row of a flag in a table with the columns flag and meaning.
func FlagRow(flag *pflag.Flag) string {
	name := "`--" + flag.Name + "`"
	if flag.Shorthand != "" {
		name = "`-" + flag.Shorthand + "`, " + name
	}
	_, meaning := pflag.UnquoteUsage(flag)
	switch value := strings.Trim(flag.DefValue, "[]"); value {
	case "", "false", "0s":
	default:
		meaning = strings.TrimSuffix(meaning, ".") + ". Default: `" + value + "`."
	}
	return Row(name, Code(meaning))
}

// FlagTableHead is the head of a table of FlagRows.
func FlagTableHead() string { return TableHead("flag", "meaning") }

// flagName matches a flag in a sentence, unless it is code already.
var flagName = regexp.MustCompile("(^|[ (])(--[a-z][a-z0-9-]*(?:=[a-z]+)?)")

// Code returns text with the flags in it as code.
func Code(text string) string { return flagName.ReplaceAllString(text, "$1`$2`") }

// Row is a row of a Markdown table.
func Row(cells ...string) string {
	var row strings.Builder
	for _, cell := range cells {
		row.WriteString("|")
		if cell != "" {
			row.WriteString(" " + strings.ReplaceAll(cell, "|", `\|`))
		}
		row.WriteString(" ")
	}
	return row.String() + "|\n"
}

// TableHead is the head of a Markdown table.
func TableHead(columns ...string) string {
	return Row(columns...) + strings.Repeat("|---", len(columns)) + "|\n"
}
