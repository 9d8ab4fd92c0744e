package docgen_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/docgen"
)

func TestBlocks(t *testing.T) {
	content := func(name string) (string, error) {
		if name == "unknown" {
			return "", errors.New("no such command")
		}
		return strings.ToUpper(name) + "\n", nil
	}
	for name, test := range map[string]struct{ page, want, err string }{
		"no block":     {page: "text\n", want: "text\n"},
		"two blocks":   {page: "a\n<!-- make docs: x -->\nold\n<!-- end of make docs -->\nb\n<!-- make docs: y -->\n<!-- end of make docs -->\n", want: "a\n<!-- make docs: x -->\nX\n<!-- end of make docs -->\nb\n<!-- make docs: y -->\nY\n<!-- end of make docs -->\n"},
		"no end":       {page: "<!-- make docs: x -->\nold\n", err: `block "x" does not end`},
		"open comment": {page: "<!-- make docs: x\nold\n", err: "does not end"},
		"unknown name": {page: "<!-- make docs: unknown -->\n<!-- end of make docs -->\n", err: `block "unknown": no such command`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := docgen.Blocks(test.page, content)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func TestFlagRow(t *testing.T) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.StringP("output", "o", "", "`format` of the output: json|yaml")
	flags.Bool("force", false, "If true, replace it. Ignored with --port=off (or --names).")
	flags.Bool("cache", true, "If true, use it.")
	flags.StringSlice("names", []string{"a", "b"}, "names")
	flags.Int("port", 443, "Port.")
	want := map[string]string{
		"output": "| `-o`, `--output` | format of the output: json\\|yaml |\n",
		"force":  "| `--force` | If true, replace it. Ignored with `--port=off` (or `--names`). |\n",
		"cache":  "| `--cache` | If true, use it. Default: `true`. |\n",
		"names":  "| `--names` | names. Default: `a,b`. |\n",
		"port":   "| `--port` | Port. Default: `443`. |\n",
	}
	flags.VisitAll(func(flag *pflag.Flag) {
		if got := docgen.FlagRow(flag); got != want[flag.Name] {
			t.Errorf("got %q, want %q", got, want[flag.Name])
		}
	})
}
