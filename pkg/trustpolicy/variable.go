package trustpolicy

import "strings"

// expand replaces the variables of a value: ${key}, ${key, 'default'}, and ${*},
// ${?}, ${$} for the characters *, ? and $ (variables). If the request does not have
// exactly one value for a variable without a default, expand returns that variable as
// unresolved. The value then equals nothing.
func expand(value string, context contextKeys) (expanded pattern, unresolved string) {
	for {
		before, rest, found := strings.Cut(value, "${")
		variable, after, closed := strings.Cut(rest, "}")
		if !found || !closed {
			return append(expanded, newPattern(value)...), ""
		}
		expanded = append(expanded, newPattern(before)...)
		text, ok := resolve(variable, context)
		if !ok {
			return nil, variable
		}
		expanded = append(expanded, []rune(text)...)
		value = after
	}
}

// resolve returns the value of a variable, and whether it has one.
func resolve(variable string, context contextKeys) (string, bool) {
	switch variable {
	case "*", "?", "$":
		return variable, true
	}
	key, fallback, hasDefault := strings.Cut(variable, ", ")
	if values := context.get(key); len(values) == 1 {
		return values[0], true
	}
	if hasDefault && len(fallback) >= 2 && strings.HasPrefix(fallback, "'") && strings.HasSuffix(fallback, "'") {
		return fallback[1 : len(fallback)-1], true
	}
	return "", false
}
