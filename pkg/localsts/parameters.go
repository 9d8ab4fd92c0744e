package localsts

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// parameters reads those of a call, and collects what is wrong with them, all of
// which AWS tells at once. What it says is not documented, but often reported:
// "1 validation error detected: Value 'a:b' at 'roleSessionName' failed to satisfy
// constraint: Member must satisfy regular expression pattern: [\w+=,.@-]*".
type parameters struct {
	values url.Values
	faults []string
	// own is the first fault that IAM tells in a sentence of its own.
	own string
}

// rule is what the API reference says of a parameter.
type rule struct {
	required bool
	// min and max bound its length in characters; a max of 0 bounds nothing.
	min, max int
	// pattern is matched as a whole.
	pattern *regexp.Regexp
	// shown is the pattern as AWS quotes it.
	shown string
	// constraint is what IAM says instead, of a value that does not match.
	constraint string
	// secret values are not quoted, as AWS does not quote those that it marks as
	// sensitive.
	secret bool
}

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
		if p.own == "" {
			p.own = fmt.Sprintf("The specified value for %s is invalid. %s", at, r.constraint)
		}
	default:
		p.fail(subject, "Member must satisfy regular expression pattern: "+r.shown)
	}
}

// number returns absent where the parameter is not given.
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

// texts reads a list of at most most: NAME.member.1 and so on.
func (p *parameters) texts(name string, most int, r rule) []string {
	var all []string
	for i := 1; ; i++ {
		key := fmt.Sprintf("%s.member.%d", name, i)
		if !p.values.Has(key) {
			return all
		}
		if i > most {
			p.fail(fmt.Sprintf("Value at '%s'", member(name)), fmt.Sprintf("Member must have length less than or equal to %d", most))
			return all
		}
		value := p.values.Get(key)
		p.check(fmt.Sprintf("%s.%d.member", member(name), i), value, r)
		all = append(all, value)
	}
}

// requireList refuses a call that does not give a list at all. One that is empty is
// given: SDKs write it as NAME= (the query protocol of AWS's SDKs).
func (p *parameters) requireList(name string) {
	for given := range p.values {
		if given == name || strings.HasPrefix(given, name+".member.") {
			return
		}
	}
	p.fail(fmt.Sprintf("Value null at '%s'", member(name)), "Member must not be null")
}

// field reads a list of structures of which one field matters.
func (p *parameters) field(name, field string, most int, r rule) []string {
	renamed := &parameters{values: url.Values{}}
	for i := 1; i <= most+1; i++ {
		key := fmt.Sprintf("%s.member.%d.%s", name, i, field)
		if !p.values.Has(key) {
			break
		}
		renamed.values.Set(fmt.Sprintf("%s.member.%d", name, i), p.values.Get(key))
	}
	all := renamed.texts(name, most, r)
	p.faults = append(p.faults, renamed.faults...)
	return all
}

func (p *parameters) fail(subject, constraint string) {
	p.faults = append(p.faults, subject+" failed to satisfy constraint: "+constraint)
}

// err is the answer to faulty parameters.
func (p *parameters) err() error {
	switch len(p.faults) {
	case 0:
		if p.own != "" {
			return validationError("%s", p.own)
		}
		return nil
	case 1:
		return validationError("1 validation error detected: %s", p.faults[0])
	default:
		return validationError("%d validation errors detected: %s", len(p.faults), strings.Join(p.faults, "; "))
	}
}

// member is a parameter's name as AWS's messages have it.
func member(name string) string { return strings.ToLower(name[:1]) + name[1:] }
