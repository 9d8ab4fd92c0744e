package doctor

import (
	"regexp"
	"strings"
)

// plainWord is what every shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// shell writes a word of a command line. Annotations, names of roles and variables
// are written by others than those who copy the command.
func shell(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(stripPlaceholders(word), "'", `'\''`) + "'"
}
