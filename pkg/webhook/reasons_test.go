package webhook_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// constants returns the values of the constants of a Go file.
func constants(t *testing.T, file string) []inject.Reason {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []inject.Reason
	ast.Inspect(parsed, func(node ast.Node) bool {
		if spec, ok := node.(*ast.ValueSpec); ok && spec.Names[0].Obj.Kind == ast.Con {
			value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, inject.Reason(value))
		}
		return true
	})
	if len(values) < 5 {
		t.Fatalf("got only %d constants in %s", len(values), file)
	}
	return values
}

// validationReasons are the constants of their file that are reasons.
func validationReasons() []inject.Reason {
	return []inject.Reason{
		webhook.ServiceAccountOK, webhook.ServiceAccountMistake, webhook.ServiceAccountDenied, webhook.ServiceAccountNotChecked,
	}
}

func TestReasons_documented(t *testing.T) {
	page, err := os.ReadFile("../../docs/reasons.md")
	if err != nil {
		t.Fatal(err)
	}
	decisions := constants(t, "../inject/reason.go")
	failures := slices.Concat(constants(t, "errors.go"), constants(t, "../../internal/httpserver/reasons.go"), validationReasons())
	slices.Sort(failures)
	failures = slices.Compact(failures)
	for _, reason := range append(decisions, failures...) {
		if !strings.Contains(string(page), "| `"+string(reason)+"` |") {
			t.Errorf("docs/reasons.md has no row for %s", reason)
		}
	}
	for _, reason := range decisions {
		if reason.Description() == "" {
			t.Errorf("%s has no description", reason)
		}
	}
	if rows := strings.Count(string(page), "\n| `"); rows != len(decisions)+len(failures)+2 {
		// injected and already_injected are explained for pods and containers.
		t.Errorf("got %d rows in docs/reasons.md, want one for each of %d reasons", rows, len(decisions)+len(failures))
	}
}
