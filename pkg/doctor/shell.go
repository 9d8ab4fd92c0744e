package doctor

import (
	"regexp"
	"strings"
)

// plainWord matches words that need no quotes in any shell.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shell returns the word quoted for a shell. Annotations, role names and variables are
// untrusted: their authors are not the users who run the command.
func shell(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(stripPlaceholders(word), "'", `'\''`) + "'"
}
