package inject

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// operation is an add operation of RFC 6902. None of the others is ever used:
// what a pod has is not ours to change.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// addElement adds value to the list at path, at position ("/0" is the first
// place, "/-" the last), or makes the list if it is absent. An empty list that
// is present is not absent: to add to it in place keeps it what it is.
func (p *plan) addElement(path string, absent bool, position string, value any) {
	if absent {
		p.ops = append(p.ops, operation{Op: "add", Path: path, Value: []any{value}})
		return
	}
	p.ops = append(p.ops, operation{Op: "add", Path: path + position, Value: value})
}

// addElements adds values at the end of the list at path, in order.
func (p *plan) addElements(path string, absent bool, values []EnvVar) {
	switch {
	case len(values) == 0:
	case absent:
		p.ops = append(p.ops, operation{Op: "add", Path: path, Value: values})
	default:
		for _, value := range values {
			p.ops = append(p.ops, operation{Op: "add", Path: path + "/-", Value: value})
		}
	}
}

// encode returns the operations as JSON. Bytes that are no UTF-8, which an
// annotation can hold, become U+FFFD as they do in the API server's own JSON.
func encode(operations []operation) ([]byte, error) {
	return json.Marshal(operations, jsontext.AllowInvalidUTF8(true))
}
