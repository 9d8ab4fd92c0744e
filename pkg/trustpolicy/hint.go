package trustpolicy

import "strings"

func (s statement) principalHint(r Request) string { return "" }

func (s statement) actionHint(action string) string {
	if strings.EqualFold(action, Action) {
		return "a token is exchanged by " + Action
	}
	return ""
}

func (c condition) hint(r Request, context contextKeys, unresolved string) string {
	if unresolved != "" {
		return "the request has no value for the variable ${" + unresolved + "}"
	}
	return ""
}
