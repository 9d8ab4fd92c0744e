package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

const (
	module           = "github.com/pod-identity-webhook/pod-identity-webhook/"
	architecturePage = "../../docs/architecture.md"
)

// node returns the node of the diagram to which a package of this module belongs.
func node(pkg string) string {
	parts := strings.Split(strings.TrimPrefix(pkg, module), "/")
	if parts[0] == "cmd" || parts[0] == "pkg" {
		return strings.Join(parts[:2], "/")
	}
	return parts[0]
}

// TestArchitecturePage_imports compares the arrows of the diagram with the imports.
func TestArchitecturePage_imports(t *testing.T) {
	page, err := os.ReadFile(architecturePage)
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, arrow := range regexp.MustCompile(`(?m)^  (\S+) --> (\S+)$`).FindAllStringSubmatch(string(page), -1) {
		documented[arrow[1]+" --> "+arrow[2]] = true
	}
	list, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "../../...").Output()
	if err != nil {
		t.Fatal(err)
	}
	imports := map[string]bool{}
	for decoder := json.NewDecoder(strings.NewReader(string(list))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		for _, imported := range pkg.Imports {
			if strings.HasPrefix(imported, module) && node(imported) != node(pkg.ImportPath) {
				imports[node(pkg.ImportPath)+" --> "+node(imported)] = true
			}
		}
	}
	for arrow := range imports {
		if !documented[arrow] {
			t.Errorf("%s lacks the arrow %s for an import", architecturePage, arrow)
		}
	}
	for arrow := range documented {
		if !imports[arrow] {
			t.Errorf("%s has the arrow %s without such an import", architecturePage, arrow)
		}
	}
}

// TestArchitecturePage_links checks that each linked file exists and defines the function
// in the text of the link.
func TestArchitecturePage_links(t *testing.T) {
	page, err := os.ReadFile(architecturePage)
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`\[([^\]]+)\]\(([^)#]+)\)`).FindAllStringSubmatch(string(page), -1)
	if len(links) < 30 {
		t.Fatalf("got %d links, want at least 30", len(links))
	}
	for _, link := range links {
		path := "../../docs/" + link[2]
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
			continue
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(link[1], ".go") {
			continue
		}
		name := link[1][strings.LastIndexByte(link[1], '.')+1:]
		source, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^(func (\([^)]*\) )?` + name + `[\[(]|type ` + name + ` |package ` + name + `$)`).Match(source) {
			t.Errorf("%s does not define %s", link[2], link[1])
		}
	}
}
