package main

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/docgen"
)

// flagRows returns the rows of the flags that the commands have on their own. With more
// than one command, a flag that not all of them have names its commands.
func flagRows(root *cobra.Command, commands []string) (string, error) {
	// The commands of each row: a flag has several rows if its meaning differs.
	users := map[string][]string{}
	for _, name := range commands {
		command, rest, err := root.Find(strings.Fields(name))
		if err != nil || len(rest) > 0 {
			return "", fmt.Errorf("%q is not a command", name)
		}
		command.LocalNonPersistentFlags().VisitAll(func(flag *pflag.Flag) {
			if flag.Hidden || flag.Name == "help" {
				return
			}
			row := docgen.FlagRow(flag)
			users[row] = append(users[row], command.Name())
		})
	}
	var rows strings.Builder
	rows.WriteString(docgen.FlagTableHead())
	for _, row := range slices.SortedFunc(maps.Keys(users), byFlag) {
		if len(users[row]) < len(commands) {
			rows.WriteString(strings.TrimSuffix(row, " |\n") + " (`" + strings.Join(users[row], "`, `") + "`) |\n")
		} else {
			rows.WriteString(row)
		}
	}
	return rows.String(), nil
}

// byFlag compares two rows by the long name of the flag.
func byFlag(a, b string) int {
	return cmp.Or(strings.Compare(a[strings.Index(a, "--"):], b[strings.Index(b, "--"):]), strings.Compare(a, b))
}

// commandsOf returns the commands that a user can run, without those of cobra.
func commandsOf(command *cobra.Command) []*cobra.Command {
	var commands []*cobra.Command
	for _, child := range command.Commands() {
		if child.HasSubCommands() {
			commands = append(commands, commandsOf(child)...)
		} else if child.Name() != "help" {
			commands = append(commands, child)
		}
	}
	return commands
}

// TestReference_commands writes the flags of each command into its page, and the
// overview of all commands.
func TestReference_commands(t *testing.T) {
	const directory = "../../docs/kubectl-irsa/"
	root := newRootCommand(genericiooptions.IOStreams{})
	pages, err := filepath.Glob(directory + "*.md")
	if err != nil {
		t.Fatal(err)
	}
	pageOf := map[string]string{}
	for _, path := range pages {
		docgen.CheckBlocks(t, path, *update, func(name string) (string, error) {
			commands := strings.Split(name, ", ")
			for _, command := range commands {
				pageOf[command] = filepath.Base(path)
			}
			return flagRows(root, commands)
		})
	}
	var overview, common strings.Builder
	overview.WriteString(docgen.TableHead("command", "purpose"))
	for _, command := range commandsOf(root) {
		name := strings.TrimPrefix(command.CommandPath(), root.CommandPath()+" ")
		text := "`kubectl irsa " + name + "`"
		switch page, ok := pageOf[name]; {
		case ok:
			text = "[" + text + "](../kubectl-irsa/" + page + ")"
		case command.LocalNonPersistentFlags().HasAvailableFlags():
			t.Errorf("no page of %s has the flags of %q", directory, name)
		}
		overview.WriteString(docgen.Row(text, command.Short))
	}
	common.WriteString(docgen.FlagTableHead())
	root.PersistentFlags().VisitAll(func(flag *pflag.Flag) {
		if flag.Name == "cache-dir" {
			// Its default contains the home directory.
			flag.DefValue = "$HOME/.kube/cache"
		}
		common.WriteString(docgen.FlagRow(flag))
	})
	docgen.Check(t, "../../docs/reference/cli.md", "# Commands of kubectl irsa\n\n"+
		"This page is for users of [`kubectl irsa`](../kubectl-irsa.md). "+docgen.Note+
		"\n"+overview.String()+"\n## Common flags\n\n"+common.String()+
		"\nThe flags of [the webhook](flags-and-annotations.md) and of [local-sts](../local-sts.md) have pages of their own.\n", *update)
}
