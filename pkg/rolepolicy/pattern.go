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
	errEmpty   = errors.New("it is empty")
	errNotJSON = errors.New("it is no JSON list of strings")
)

// Matching takes time linear in the role and in the compiled expression, which a
// few characters such as (a?){1000} make large: 400 of them took 9 s on a role of
// 2048. Within these limits the worst is 0.2 s.
const (
	// maxExpression and maxProgram are in bytes and instructions: plain text
	// compiles to one instruction a character.
	maxExpression, maxProgram = 2048, 4096
	// maxRole is the longest role that STS takes, in characters
	// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
	maxRole = 2048
)

// matchesExpression says whether a regular expression matches the whole of a
// role's ARN, or of its path and name.
func matchesExpression(expression, roleARN string) (bool, error) {
	compiled, err := compile(expression)
	if err != nil || len(roleARN) > maxRole {
		return false, err
	}
	// The longest match is the whole if any is. To put ^ and $ around the text is
	// not enough: they miss half of "a|b", and make sense of "a)|(b".
	compiled.Longest()
	whole := func(s string) bool {
		found := compiled.FindStringIndex(s)
		return found != nil && found[0] == 0 && found[1] == len(s)
	}
	return whole(roleARN) || whole(pathAndName(roleARN)), nil
}

// compile returns an expression that is small enough to match while a pod waits.
func compile(expression string) (*regexp.Regexp, error) {
	switch {
	case expression == "":
		return nil, errEmpty
	case len(expression) > maxExpression:
		return nil, fmt.Errorf("it is longer than %d bytes", maxExpression)
	}
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if fault, ok := errors.AsType[*syntax.Error](err); ok {
		err = errors.New(fault.Code.String()) // the expression is named already
	}
	if err != nil {
		return nil, fmt.Errorf("it is no regular expression: %w", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil || len(program.Inst) > maxProgram {
		return nil, errors.New("it is too large once its repetitions are written out")
	}
	return regexp.Compile(expression)
}

// readList reads a list in JSON or of comma-separated values, in which quotes
// are for roles with a comma in their name, which IAM allows.
func readList(policy string) ([]string, error) {
	if strings.HasPrefix(strings.TrimSpace(policy), "[") {
		return readJSONList(policy)
	}
	reader := csv.NewReader(strings.NewReader(policy))
	reader.TrimLeadingSpace = true
	reader.FieldsPerRecord = -1 // lines of a YAML block need not be of one length
	records, err := reader.ReadAll()
	if err != nil {
		return nil, errors.New("it is no list of comma-separated values")
	}
	return nonEmpty(slices.Concat(records...))
}

func readJSONList(policy string) ([]string, error) {
	if strings.TrimSpace(policy) == "" {
		return nil, errEmpty
	}
	// Pointers tell null, which is no string, from "".
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

// nonEmpty returns the patterns of a list that are not blank.
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

// matches says whether a pattern, in which * stands for any characters, matches
// the whole of a role's ARN or, if it has no colon, of its path and name.
func matches(pattern, roleARN string) bool {
	if pattern == "*" || strings.Contains(pattern, ":") {
		return identity.Glob(pattern, roleARN)
	}
	return identity.Glob(strings.TrimPrefix(pattern, "/"), pathAndName(roleARN))
}

// pathAndName returns those of the role in an ARN, or what is no ARN. IAM allows
// no colon in them, so the first ":role/" is where they begin: were it the last,
// a role could pass for another.
func pathAndName(roleARN string) string {
	if _, name, ok := strings.Cut(roleARN, ":role/"); ok {
		return name
	}
	return roleARN
}
