package rolepolicy

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

var (
	errEmpty   = errors.New("empty policy")
	errNotJSON = errors.New("not a JSON list of strings")
)

// Matching takes time linear in the length of the role and in the size of the
// compiled expression. A few characters such as (a?){1000} compile to a large
// program: an expression of 400 characters took 9 s on a role of 2048. Within these
// limits the worst case is 0.2 s.
const (
	// maxExpression is in bytes, maxProgram in instructions. Plain text compiles to
	// one instruction per character.
	maxExpression, maxProgram = 2048, 4096
	// maxRole is the length in characters of the longest role that STS accepts. See the page
	// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
	// in the AWS documentation.
	maxRole = 2048
)

// matchesExpression reports whether a regular expression matches the whole ARN of a
// role, or its whole path and name. It returns an error if the expression is invalid
// or too large.
func matchesExpression(expression, roleARN string) (bool, error) {
	compiled, err := compile(expression)
	if err != nil || len(roleARN) > maxRole {
		return false, err
	}
	// If any match covers the whole text, the longest does. Adding ^ and $ to the
	// expression is not enough, because each anchors only one half of "a|b". Parentheses
	// around it would turn the invalid "a)|(b" into a valid expression.
	compiled.Longest()
	whole := func(s string) bool {
		found := compiled.FindStringIndex(s)
		return found != nil && found[0] == 0 && found[1] == len(s)
	}
	return whole(roleARN) || whole(pathAndName(roleARN)), nil
}

// compile compiles an expression. It returns an error if the expression is empty,
// invalid, or too large to match while the creation of a pod waits.
func compile(expression string) (*regexp.Regexp, error) {
	switch {
	case expression == "":
		return nil, errEmpty
	case len(expression) > maxExpression:
		return nil, fmt.Errorf("longer than %d bytes", maxExpression)
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if fault, ok := errors.AsType[*syntax.Error](err); ok {
		err = errors.New(fault.Code.String()) // the message quotes the expression already
	}
	if err != nil {
		return nil, fmt.Errorf("invalid regular expression: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return nil, errors.New("too large after its repetitions are expanded")
	}
	return regexp.Compile(expression)
}

// readList parses a JSON list or a list of comma-separated values. Values can be
// quoted, because IAM allows commas in the names of roles. It returns an error if
// the list is invalid or has no pattern.
func readList(policy string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(policy), "[") {
		return readJSONList(policy)
	}
	reader := csv.NewReader(strings.NewReader(policy))
	reader.TrimLeadingSpace = true
	reader.FieldsPerRecord = -1 // the lines of a YAML block can have different numbers of values
	records, err := reader.ReadAll()
	if err != nil {
		return nil, errors.New("not a list of comma-separated values")
	}
	return nonEmpty(slices.Concat(records...))
}

// readJSONList parses a JSON list of strings. It returns an error if the list is
// invalid or has no pattern.
func readJSONList(policy string) ([]string, error) {
	if strings.TrimSpace(policy) == "" {
		return nil, errEmpty
	}
	// Pointers distinguish null, which is not a string, from "".
	var values []*string
	if err := json.Unmarshal([]byte(policy), &values); err != nil || values == nil || slices.Contains(values, nil) {
		return nil, errNotJSON
	}
	patterns := make([]string, 0, len(values))
	for _, value := range values {
		patterns = append(patterns, *value)
	}
	return nonEmpty(patterns)
}

// nonEmpty returns the patterns of a list that are not blank, and errEmpty if there
// are none.
func nonEmpty(values []string) ([]string, error) {
	var patterns []string
	for _, value := range values {
		if pattern := strings.TrimSpace(value); pattern != "" {
			patterns = append(patterns, pattern)
		}
	}
	if len(patterns) == 0 {
		return nil, errEmpty
	}
	return patterns, nil
}

// matches reports whether a pattern, in which * stands for any characters, matches
// the whole ARN of a role. A pattern without a colon must match the whole path and
// name instead.
func matches(pattern, roleARN string) bool {
	if pattern == "*" || strings.Contains(pattern, ":") {
		return identity.Glob(pattern, roleARN)
	}
	return identity.Glob(strings.TrimPrefix(pattern, "/"), pathAndName(roleARN))
}

// pathAndName returns the path and name of the role in an ARN. It returns any other
// text unchanged. IAM allows no colon in a path or name, so they start after the first
// ":role/". With the last one, x:role/app would count as the role app.
func pathAndName(roleARN string) string {
	if _, name, ok := strings.Cut(roleARN, ":role/"); ok {
		return name
	}
	return roleARN
}
