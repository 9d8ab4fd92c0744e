package inject

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
)

// operation is an add operation of RFC 6902. None of the others is ever used:
// what a pod has is not ours to change.
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// add adds a field that is absent.
func (p *plan) add(path string, value any) {
	p.ops = append(p.ops, operation{Op: "add", Path: path, Value: value})
}

// addEntry adds an entry to the map at path, or makes the map if it is absent.
func (p *plan) addEntry(path string, absent bool, key, value string) {
	if absent {
		p.add(path, map[string]string{key: value})
		return
	}
	p.add(path+"/"+escape(key), value)
}

// escape makes a key part of a JSON pointer (RFC 6901).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// addElement adds value to the list at path, at position ("/0" is the first
// place, "/-" the last), or makes the list if it is absent. An empty list that
// is present is not absent: to add to it in place keeps it what it is.
func (p *plan) addElement(path string, absent bool, position string, value any) {
	if absent {
		p.add(path, []any{value})
		return
	}
	p.add(path+position, value)
}

// addElements adds values at the end of the list at path, in order.
func (p *plan) addElements(path string, absent bool, values []corev1.EnvVar) {
	switch {
	case len(values) == 0:
	case absent:
		p.add(path, values)
	default:
		for _, value := range values {
			p.add(path+"/-", value)
		}
	}
}

// encode returns the operations as JSON. Bytes that are no UTF-8, which an
// annotation can hold, become U+FFFD as they do in the API server's own JSON.
func encode(operations []operation) ([]byte, error) {
	return json.Marshal(operations, jsontext.AllowInvalidUTF8(true))
}
