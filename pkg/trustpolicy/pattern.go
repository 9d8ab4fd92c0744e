package trustpolicy

import (
	"slices"
	"strings"
)

// pattern is a value of a policy as characters and wildcards. The value of a variable
// has only characters.
type pattern []rune

const (
	// anyText and anyOne are the wildcards * and ?. They are negative, which no
	// character is.
	anyText rune = -1
	anyOne  rune = -2
)

func newPattern(value string) pattern {
	read := make(pattern, 0, len(value))
	for _, c := range value {
		read = append(read, wildcard(c))
	}
	return read
}

// wildcard returns the wildcard that a character is to StringLike, or the character.
func wildcard(c rune) rune {
	switch c {
	case '*':
		return anyText
	case '?':
		return anyOne
	default:
		return c
	}
}

// literal returns the value for operators that compare * and ? literally.
func (p pattern) literal() string {
	var b strings.Builder
	for _, c := range p {
		switch c {
		case anyText:
			b.WriteByte('*')
		case anyOne:
			b.WriteByte('?')
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

// matches reports whether the pattern matches all of s. It takes time linear in the
// product of their lengths, because it backtracks only to the last *.
func (p pattern) matches(s string) bool {
	text := []rune(s)
	at, star, resume := 0, -1, 0
	for i := 0; i < len(text); {
		switch {
		case at < len(p) && p[at] == anyText:
			star, resume = at, i
			at++
		case at < len(p) && (p[at] == anyOne || p[at] == text[i]):
			at++
			i++
		case star >= 0:
			resume++
			at, i = star+1, resume
		default:
			return false
		}
	}
	return !slices.ContainsFunc(p[at:], func(c rune) bool { return c != anyText })
}

// split splits the pattern at a character into at most n parts.
func (p pattern) split(at rune, n int) []pattern {
	var pieces []pattern
	for len(pieces) < n-1 {
		i := slices.Index(p, at)
		if i < 0 {
			break
		}
		pieces = append(pieces, p[:i])
		p = p[i+1:]
	}
	return append(pieces, p)
}

// hasWildcard reports whether a value has a wildcard of StringLike.
func hasWildcard(value string) bool { return strings.ContainsAny(value, "*?") }
