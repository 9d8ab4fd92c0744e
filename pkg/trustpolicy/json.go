package trustpolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth is the maximum nesting depth of a document. The grammar has six levels:
// document, list of statements, statement, condition, operator, list of values.
const maxDepth = 8

// object is a JSON object that keeps all its members in order. encoding/json would keep
// only the last of two members with the same name.
type object []member

type member struct {
	name  string
	value any // string, json.Number, bool, nil, []any or object
}

// get returns the value of the first member with that name, and whether there is one.
func (o object) get(name string) (any, bool) {
	for _, m := range o {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

// repeated returns a name that occurs twice, or "".
func (o object) repeated() string {
	seen := make(map[string]bool, len(o))
	for _, m := range o {
		if seen[m.name] {
			return m.name
		}
		seen[m.name] = true
	}
	return ""
}

var errTooDeep = fmt.Errorf("more than %d levels of nesting", maxDepth)

// readJSON decodes a document of exactly one JSON value. It returns an error if the
// document is invalid, not UTF-8, or followed by other data.
func readJSON(document []byte) (any, error) {
	if !utf8.Valid(document) {
		return nil, errors.New("invalid UTF-8")
	}
	decoder := json.NewDecoder(bytes.NewReader(document))
	decoder.UseNumber()
	value, err := readValue(decoder, 0)
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data after the end of the document")
	}
	return value, nil
}

// readValue decodes the next value. It returns an error if the value is invalid or nested
// more than maxDepth levels deep.
func readValue(decoder *json.Decoder, depth int) (any, error) {
	token, err := decoder.Token()
	if errors.Is(err, io.EOF) {
		return nil, io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'), json.Delim('['):
		if depth == maxDepth {
			return nil, errTooDeep
		}
	default:
		return token, nil
	}
	var read any
	if token == json.Delim('[') {
		read, err = readList(decoder, depth+1)
	} else {
		read, err = readObject(decoder, depth+1)
	}
	if err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); err != nil { // the closing bracket
		return nil, err
	}
	return read, nil
}

func readList(decoder *json.Decoder, depth int) ([]any, error) {
	list := []any{}
	for decoder.More() {
		value, err := readValue(decoder, depth)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, nil
}

func readObject(decoder *json.Decoder, depth int) (object, error) {
	read := object{}
	for decoder.More() {
		token, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, ok := token.(string)
		if !ok {
			return nil, fmt.Errorf("member name %v is not a string", token)
		}
		value, err := readValue(decoder, depth)
		if err != nil {
			return nil, err
		}
		read = append(read, member{name, value})
	}
	return read, nil
}
