package trustpolicy

import (
	"fmt"
)

// Add returns a trust policy with one more statement for each grant. It keeps every
// statement of the document as it is, and the document's version. It returns a
// *MalformedError if the document is invalid. It returns an error if a grant is invalid or
// the new policy is longer than MaxLength.
func Add(document []byte, grants ...Grant) (Document, []byte, error) {
	if _, err := Parse(document); err != nil {
		return Document{}, nil, err
	}
	added, err := New(grants...)
	if err != nil {
		return Document{}, nil, err
	}
	value, err := readJSON(document)
	if err != nil {
		return Document{}, nil, err
	}
	top := value.(object) //nolint:forcetypeassert // Parse has checked it
	for i, m := range top {
		if m.name != "Statement" {
			continue
		}
		statements, ok := m.value.([]any)
		if !ok {
			statements = []any{m.value} // a single statement needs no list
		}
		for _, s := range added.statements {
			statements = append(statements, s.orderedObject())
		}
		top[i].value = statements
	}
	written, err := ordered(top).MarshalJSON()
	if err != nil {
		return Document{}, nil, err
	}
	merged, err := Parse(written)
	if err != nil {
		return Document{}, nil, err
	}
	if length := merged.Length(); length > MaxLength {
		return Document{}, nil, fmt.Errorf("add a statement: %d characters exceed the limit of IAM, which is %d, or %d if you raise the quota; "+
			"remove statements that are not needed, or use another role", length, DefaultMaxLength, MaxLength)
	}
	return merged, written, nil
}

// ordered returns an object that encodes as o.
func ordered(o object) orderedObject {
	written := orderedObject{}
	for _, m := range o {
		written.add(m.name, encodable(m.value))
	}
	return written
}

func encodable(value any) any {
	switch value := value.(type) {
	case object:
		return ordered(value)
	case []any:
		list := make([]any, 0, len(value))
		for _, item := range value {
			list = append(list, encodable(item))
		}
		return list
	default:
		return value
	}
}
