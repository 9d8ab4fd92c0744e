package doctor

import "strings"

// Commands are the flags that fixes need to reach the diagnosed cluster and account.
// Without these flags a fix would change the current context of the shell in which it
// is pasted. A list is empty if the diagnosis used the current context.
type Commands struct {
	// Kubectl, Helm and AWS are flags of these commands. Plugin are flags of kubectl irsa,
	// which accepts the flags of kubectl and of the AWS CLI.
	Kubectl, Plugin, Helm, AWS []string
}

// Placeholders for the commands in a fix, which write replaces. A fix can also contain
// text from cluster objects; shell removes the placeholders from such text.
const (
	kubectl    = "\ue000"
	irsaPlugin = "\ue001"
	helm       = "\ue002"
	awsCLI     = "\ue003"
)

// write returns the fix with the placeholders replaced by commands with their flags.
func (c Commands) write(fix string) string {
	return strings.NewReplacer(
		kubectl, commandLine("kubectl", c.Kubectl),
		irsaPlugin, commandLine("kubectl irsa", c.Plugin),
		helm, commandLine("helm", c.Helm),
		awsCLI, commandLine("aws", c.AWS),
	).Replace(fix)
}

func commandLine(name string, flags []string) string {
	words := []string{name}
	for _, flag := range flags {
		words = append(words, shell(flag))
	}
	return strings.Join(words, " ")
}

// stripPlaceholders returns word without the placeholders for commands.
func stripPlaceholders(word string) string {
	return strings.NewReplacer(kubectl, "", irsaPlugin, "", helm, "", awsCLI, "").Replace(word)
}
