package trustpolicy

import (
	"slices"
	"strings"
)

// operator is the name of a condition operator, taken apart.
type operator struct {
	// set is ForAllValues, ForAnyValue, or "" for a key of one value.
	set string
	// base is the name between prefix and suffix, such as StringNotLike.
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

// comparisons are what operators compare by: whether what was found is what was
// expected. An operator that is negated is true where its comparison is not
// (operators).
var comparisons = map[string]struct {
	compare func(found string, expected pattern) bool
	negated bool
	// variables says that a value may have variables, which the operators' page
	// says of each.
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

// parseOperator takes the name of an operator apart. Null takes no IfExists
// (operators, "...IfExists condition operators").
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

// String is the name as it is written.
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

// suggestOperator returns a hint for a name that is nearly that of an operator.
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
