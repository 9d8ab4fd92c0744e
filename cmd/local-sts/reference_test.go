package main

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/docgen"
)

var update = flag.Bool("update", false, "write the table of flags into docs/local-sts.md instead of comparing with it")

func TestReference_flags(t *testing.T) {
	const path = "../../docs/local-sts.md"
	blocks := 0
	docgen.CheckBlocks(t, path, *update, func(name string) (string, error) {
		if name != "local-sts" {
			return "", fmt.Errorf("got the name %q, want local-sts", name)
		}
		blocks++
		var rows strings.Builder
		rows.WriteString(docgen.FlagTableHead())
		newFlagSet(new(config)).VisitAll(func(flag *pflag.Flag) { rows.WriteString(docgen.FlagRow(flag)) })
		return rows.String(), nil
	})
	if blocks != 1 {
		t.Errorf("got %d tables of flags in %s, want 1", blocks, path)
	}
}
