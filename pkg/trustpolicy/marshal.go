package trustpolicy

import (
	"bytes"
	"encoding/json"
	"unicode"
)

// MarshalJSON returns the document as JSON without white space, with the elements in the
// order of AWS's examples.
func (d Document) MarshalJSON() ([]byte, error) {
	top := orderedObject{}
	top.addText("Version", d.version)
	top.addText("Id", d.id)
	statements := make([]orderedObject, 0, len(d.statements))
	for _, s := range d.statements {
		statements = append(statements, s.orderedObject())
	}
	top.add("Statement", statements)
	return top.MarshalJSON()
}

// Indent returns the document as indented JSON that ends in a line break.
func (d Document) Indent() ([]byte, error) {
	plain, err := d.MarshalJSON()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, plain, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// Length returns the number of characters of the document without white space, which is
// how IAM counts them.
func (d Document) Length() int {
	plain, err := d.MarshalJSON()
	if err != nil {
		return 0 // does not happen: strings can always be encoded
	}
	length := 0
	for _, c := range string(plain) {
		if !unicode.IsSpace(c) {
			length++
		}
	}
	return length
}

func (s statement) orderedObject() orderedObject {
	written := orderedObject{}
	written.addText("Sid", s.sid)
	written.add("Effect", s.effect)
	if s.everyone {
		written.add("Principal", "*")
	} else {
		principals := orderedObject{}
		for _, p := range s.principals {
			principals.add(p.kind, singleOrList(p.values))
		}
		written.add("Principal", principals)
	}
	if s.not {
		written.add("NotAction", singleOrList(s.actions))
	} else {
		written.add("Action", singleOrList(s.actions))
	}
	if len(s.conditions) > 0 {
		written.add("Condition", conditionsByOperator(s.conditions))
	}
	return written
}

// conditionsByOperator groups the conditions by operator, in order of appearance.
func conditionsByOperator(conditions []condition) orderedObject {
	var operators []string
	keys := map[string]*orderedObject{}
	for _, c := range conditions {
		name := c.operator.String()
		if keys[name] == nil {
			operators = append(operators, name)
			keys[name] = &orderedObject{}
		}
		keys[name].add(c.key, singleOrList(c.values))
	}
	written := orderedObject{}
	for _, name := range operators {
		written.add(name, *keys[name])
	}
	return written
}

// singleOrList returns a single value without a list around it.
func singleOrList(values []string) any {
	if len(values) == 1 {
		return values[0]
	}
	return values
}

// orderedObject is a JSON object that is encoded in the order of its members.
type orderedObject []orderedMember

type orderedMember struct {
	name  string
	value any
}

func (o *orderedObject) add(name string, value any) { *o = append(*o, orderedMember{name, value}) }

func (o *orderedObject) addText(name, value string) {
	if value != "" {
		o.add(name, value)
	}
}

// MarshalJSON returns the object as JSON. It does not escape < > &, because IAM's own
// documents do not.
func (o orderedObject) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encode := func(value any) error {
		if err := encoder.Encode(value); err != nil {
			return err
		}
		b.Truncate(b.Len() - 1) // the line break that Encode adds
		return nil
	}
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := encode(m.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
