// Command goprose writes the comments and the string literals of Go files as text
// files, so that a prose linter can read them. A text has the same line in both files.
//
//	goprose SOURCE TARGET
//
// For each Go file in the directory SOURCE it writes TARGET/comments/FILE.txt and, unless
// the file is a test, TARGET/strings/FILE.txt. It removes TARGET first.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: goprose SOURCE TARGET")
		os.Exit(2) //nolint:forbidigo // this is main
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "goprose:", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(source, target string) error {
	if err := os.RemoveAll(target); err != nil { //nolint:gosec // the Makefile sets the directories
		return err
	}
	return filepath.WalkDir(source, func(path string, entry fs.DirEntry, err error) error { //nolint:gosec // as above
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if name := entry.Name(); path != source && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		relative, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if err := comments(files, file).write(filepath.Join(target, "comments", relative+".txt")); err != nil || strings.HasSuffix(path, "_test.go") {
			return err
		}
		return literals(files, file).write(filepath.Join(target, "strings", relative+".txt"))
	})
}

// page is the lines of a text file.
type page []string

// add appends text to a line, whose first is 1.
func (p *page) add(line int, text string) {
	for len(*p) < line {
		*p = append(*p, "")
	}
	if (*p)[line-1] != "" {
		text = " " + text
	}
	(*p)[line-1] += text
}

func (p page) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil { //nolint:gosec // the Makefile sets the directories
		return err
	}
	return os.WriteFile(path, []byte(strings.Join(p, "\n")+"\n"), 0o600) //nolint:gosec // as above
}

// urls matches a URL. Its dots and slashes would count as ends of sentences and as words.
var urls = regexp.MustCompile(`https?://[^\s)]+`)

// comments returns the comments of a file without directives.
func comments(files *token.FileSet, file *ast.File) page {
	var p page
	for _, group := range file.Comments {
		if len(p) > 0 && p[len(p)-1] != "" {
			// A comment at the end of the line before does not continue in this one.
			p[len(p)-1] = strings.TrimSuffix(p[len(p)-1], ".") + "."
		}
		for _, comment := range group.List {
			line := files.Position(comment.Pos()).Line
			text, isLine := strings.CutPrefix(comment.Text, "//")
			if isLine {
				// A directive has no space after the slashes, and an indented line is code.
				if trimmed, isText := strings.CutPrefix(text, " "); isText && !strings.HasPrefix(trimmed, " ") {
					p.add(line, urls.ReplaceAllString(trimmed, "URL"))
				}
				continue
			}
			for i, part := range strings.Split(strings.Trim(text, "/*"), "\n") {
				p.add(line+i, strings.TrimSpace(part))
			}
		}
	}
	return p
}

// literals returns the strings of a file that contain a space.
func literals(files *token.FileSet, file *ast.File) page {
	var p page
	ast.Inspect(file, func(node ast.Node) bool {
		literal, ok := node.(*ast.BasicLit)
		if !ok || literal.Kind != token.STRING {
			return true
		}
		text, err := strconv.Unquote(literal.Value)
		if err != nil || !strings.Contains(text, " ") {
			return true
		}
		line := files.Position(literal.Pos()).Line
		for part := range strings.SplitSeq(text, "\n") {
			p.add(line, part)
			if strings.HasPrefix(literal.Value, "`") {
				line++
			}
		}
		return true
	})
	return p
}
