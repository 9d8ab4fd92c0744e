package trustpolicy

import (
	"slices"
	"strings"
)

// operator is the parsed name of a condition operator.
type operator struct {
	// set is ForAllValues, ForAnyValue, or "" for a key with a single value.
	set string
	// base is the name without the prefix and the suffix, such as StringNotLike.
	base     string
	ifExists bool
}

const (
	forAllValues = "ForAllValues"
	forAnyValue  = "ForAnyValue"
	opNull       = "Null"
	opEquals     = "StringEquals"
	opLike       = "StringLike"
)

// comparisons are the comparisons of the operators. compare reports whether the value
// that was found is the expected one. A negated operator is true if its comparison is
// false (operators).
var comparisons = map[string]struct {
	compare func(found string, expected pattern) bool
	negated bool
	// variables reports whether a value can have variables (operators).
	variables bool
}{
	opEquals:                    {compare: equals, variables: true},
	"StringNotEquals":           {compare: equals, negated: true, variables: true},
	"StringEqualsIgnoreCase":    {compare: equalsFold, variables: true},
	"StringNotEqualsIgnoreCase": {compare: equalsFold, negated: true, variables: true},
	opLike:                      {compare: like, variables: true},
	"StringNotLike":             {compare: like, negated: true, variables: true},
	"ArnEquals":                 {compare: arnLike, variables: true},
	"ArnLike":                   {compare: arnLike, variables: true},
	"ArnNotEquals":              {compare: arnLike, negated: true, variables: true},
	"ArnNotLike":                {compare: arnLike, negated: true, variables: true},
	"Bool":                      {compare: equalsFold, variables: true},
	"NumericEquals":             {compare: numeric(func(order int) bool { return order == 0 })},
	"NumericNotEquals":          {compare: numeric(func(order int) bool { return order == 0 }), negated: true},
	"NumericLessThan":           {compare: numeric(func(order int) bool { return order < 0 })},
	"NumericLessThanEquals":     {compare: numeric(func(order int) bool { return order <= 0 })},
	"NumericGreaterThan":        {compare: numeric(func(order int) bool { return order > 0 })},
	"NumericGreaterThanEquals":  {compare: numeric(func(order int) bool { return order >= 0 })},
	"DateEquals":                {compare: date(func(order int) bool { return order == 0 })},
	"DateNotEquals":             {compare: date(func(order int) bool { return order == 0 }), negated: true},
	"DateLessThan":              {compare: date(func(order int) bool { return order < 0 })},
	"DateLessThanEquals":        {compare: date(func(order int) bool { return order <= 0 })},
	"DateGreaterThan":           {compare: date(func(order int) bool { return order > 0 })},
	"DateGreaterThanEquals":     {compare: date(func(order int) bool { return order >= 0 })},
	"IpAddress":                 {compare: ipAddress},
	"NotIpAddress":              {compare: ipAddress, negated: true},
	"BinaryEquals":              {compare: binary},
}

// parseOperator parses the name of an operator, and reports whether it is valid. Null
// cannot have IfExists (operators, "...IfExists condition operators").
func parseOperator(name string) (operator, bool) {
	read := operator{base: name}
	if set, rest, ok := strings.Cut(name, ":"); ok {
		if set != forAllValues && set != forAnyValue {
			return operator{}, false
		}
		read.set, read.base = set, rest
	}
	if read.base == opNull {
		return read, true
	}
	read.base, read.ifExists = strings.CutSuffix(read.base, "IfExists")
	_, ok := comparisons[read.base]
	return read, ok
}

// String returns the name of the operator as in a policy.
func (o operator) String() string {
	name := o.base
	if o.set != "" {
		name = o.set + ":" + name
	}
	if o.ifExists {
		name += "IfExists"
	}
	return name
}

func (o operator) negated() bool { return comparisons[o.base].negated }

// suggestOperator returns a hint if name is similar to that of an operator, or "".
func suggestOperator(name string) string {
	for _, base := range operatorNames() {
		if _, rest, ok := strings.Cut(name, ":"); ok && strings.EqualFold(rest, base) {
			return "did you mean " + forAnyValue + ":" + base + "?"
		}
		if strings.EqualFold(name, base) || strings.EqualFold(name+"s", base) || strings.EqualFold("String"+name, base) {
			return "did you mean " + base + "?"
		}
	}
	return ""
}

func operatorNames() []string {
	names := []string{opNull}
	for name := range comparisons {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
