package localsts

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parameters reads the parameters of a call and collects the validation errors, because AWS
// returns all of them at once. AWS does not document the message, but users often report it:
//
//	1 validation error detected: Value 'a:b' at 'roleSessionName' failed to satisfy
//	constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*
type parameters struct {
	values url.Values
	errors []string
	// separate is the first error that IAM returns in a message of its own.
	separate string
}

// rule is the constraint on a parameter in the API reference.
type rule struct {
	required bool
	// min and max limit the length in characters. If max is 0, there is no maximum.
	min, max int
	// pattern must match the whole value. It is nil if all values are allowed.
	pattern *regexp.Regexp
	// shown is the pattern as AWS's messages quote it.
	shown string
	// constraint, if set, is the message of IAM for a value that does not match pattern. It
	// replaces the message with the pattern.
	constraint string
	// secret values are not quoted in messages. AWS does not quote parameters that it marks
	// as sensitive.
	secret bool
}

// text returns the value of a parameter, or "" if it is missing. It records an error if the
// value does not match the rule.
func (p *parameters) text(name string, r rule) string {
	value, given := "", p.values.Has(name)
	if given {
		value = p.values.Get(name)
	}
	if !given {
		if r.required {
			p.fail(fmt.Sprintf("Value null at '%s'", member(name)), "Member must not be null")
		}
		return ""
	}
	p.check(member(name), value, r)
	return value
}

// check records an error if value does not match r. at is the name of the parameter in
// messages.
func (p *parameters) check(at, value string, r rule) {
	subject := fmt.Sprintf("Value '%s' at '%s'", value, at)
	if r.secret {
		subject = fmt.Sprintf("Value at '%s'", at)
	}
	length := utf8.RuneCountInString(value)
	switch {
	case length < r.min:
		p.fail(subject, fmt.Sprintf("Member must have length greater than or equal to %d", r.min))
	case r.max > 0 && length > r.max:
		p.fail(subject, fmt.Sprintf("Member must have length less than or equal to %d", r.max))
	case r.pattern == nil || r.pattern.MatchString(value):
	case r.constraint != "":
		if p.separate == "" {
			p.separate = fmt.Sprintf("The specified value for %s is invalid. %s", at, r.constraint)
		}
	default:
		p.fail(subject, "Member must satisfy regular expression pattern: "+r.shown)
	}
}

// number returns the value of a parameter, or absent if it is missing. It records an error if
// the value is not a number from low to high.
func (p *parameters) number(name string, low, high, absent int) int {
	given := p.values.Get(name)
	if given == "" {
		return absent
	}
	number, err := strconv.Atoi(given)
	subject := fmt.Sprintf("Value '%s' at '%s'", given, member(name))
	switch {
	case err != nil:
		p.fail(subject, "Member must be a number")
	case number < low:
		p.fail(subject, fmt.Sprintf("Member must have value greater than or equal to %d", low))
	case number > high:
		p.fail(subject, fmt.Sprintf("Member must have value less than or equal to %d", high))
	}
	return number
}

// texts returns the members of a list: NAME.member.1 and so on. It records an error if there
// are more than limit members or r does not match one of them.
func (p *parameters) texts(name string, limit int, r rule) []string {
	var all []string
	for i := 1; ; i++ {
		key := fmt.Sprintf("%s.member.%d", name, i)
		if !p.values.Has(key) {
			return all
		}
		if i > limit {
			p.fail(fmt.Sprintf("Value at '%s'", member(name)), fmt.Sprintf("Member must have length less than or equal to %d", limit))
			return all
		}
		value := p.values.Get(key)
		p.check(fmt.Sprintf("%s.%d.member", member(name), i), value, r)
		all = append(all, value)
	}
}

// requireList records an error if the call does not contain the list. An empty list is not an
// error: SDKs send it as NAME= (the query protocol of AWS's SDKs).
func (p *parameters) requireList(name string) {
	for given := range p.values {
		if given == name || strings.HasPrefix(given, name+".member.") {
			return
		}
	}
	p.fail(fmt.Sprintf("Value null at '%s'", member(name)), "Member must not be null")
}

// field returns one field of each member of a list of structures. It records the same errors
// as texts.
func (p *parameters) field(name, field string, limit int, r rule) []string {
	renamed := &parameters{values: url.Values{}}
	for i := 1; i <= limit+1; i++ {
		key := fmt.Sprintf("%s.member.%d.%s", name, i, field)
		if !p.values.Has(key) {
			break
		}
		renamed.values.Set(fmt.Sprintf("%s.member.%d", name, i), p.values.Get(key))
	}
	all := renamed.texts(name, limit, r)
	p.errors = append(p.errors, renamed.errors...)
	return all
}

// fail records an error.
func (p *parameters) fail(subject, constraint string) {
	p.errors = append(p.errors, subject+" failed to satisfy constraint: "+constraint)
}

// err returns AWS's error for all recorded errors, or nil if there are none.
func (p *parameters) err() error {
	switch len(p.errors) {
	case 0:
		if p.separate != "" {
			return validationError("%s", p.separate)
		}
		return nil
	case 1:
		return validationError("1 validation error detected: %s", p.errors[0])
	default:
		return validationError("%d validation errors detected: %s", len(p.errors), strings.Join(p.errors, "; "))
	}
}

// member returns the name of a parameter in the form of AWS's messages.
func member(name string) string { return strings.ToLower(name[:1]) + name[1:] }
