package doctor

import "strings"

// Commands are the flags by which the commands that mend something reach what was
// examined: without them, they would change whatever is current where they are
// pasted. Each is empty for what is current.
type Commands struct {
	// Kubectl, Helm and AWS are flags of these command lines; Plugin are those of
	// kubectl irsa, which takes kubectl's and AWS's.
	Kubectl, Plugin, Helm, AWS []string
}

// The commands in a fix, while it is put together. What others wrote may be beside
// them, and has no such character: shell sees to that.
const (
	kubectl    = "\ue000"
	irsaPlugin = "\ue001"
	helm       = "\ue002"
	awsCLI     = "\ue003"
)

// write completes a fix.
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

// stripPlaceholders takes the characters that stand for commands out of what others wrote.
func stripPlaceholders(word string) string {
	return strings.NewReplacer(kubectl, "", irsaPlugin, "", helm, "", awsCLI, "").Replace(word)
}
