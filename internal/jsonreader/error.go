package jsonreader

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Error says where a document is not as expected. It never quotes a value, which may
// be a secret.
type Error struct {
	// Offset is that of the byte, and Pointer that of the value (RFC 6901), or its end
	// if it is long.
	Offset  int64
	Pointer jsontext.Pointer
	// Kind is what cannot be there, as "array"; empty if it is not JSON.
	Kind string
}

func (e *Error) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("at byte %d, %q: malformed JSON", e.Offset, e.Pointer)
	}
	return fmt.Sprintf("at byte %d, %q: a JSON %s cannot be used here", e.Offset, e.Pointer, e.Kind)
}

// locate decodes the document again, by a library, as far as the fault: invalid JSON, or
// an unexpected value at the offset.
func locate(document []byte, offset int, unexpected bool) *Error {
	decoder := jsontext.NewDecoder(bytes.NewReader(document), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := decoder.ReadToken()
		if malformed, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return &Error{Offset: malformed.ByteOffset, Pointer: end(malformed.JSONPointer)}
		}
		switch {
		case err != nil || !unexpected && decoder.InputOffset() > int64(offset):
			return &Error{Offset: int64(offset)}
		case unexpected && decoder.InputOffset() > int64(offset):
			return &Error{Offset: int64(offset), Pointer: end(decoder.StackPointer()), Kind: kinds[token.Kind()]}
		}
	}
}

var kinds = map[jsontext.Kind]string{
	'n': "null", 't': "boolean", 'f': "boolean", '"': "string", '0': "number", '{': "object", '[': "array",
}

// maxPointer keeps long names out of messages.
const maxPointer = 200

func end(pointer jsontext.Pointer) jsontext.Pointer {
	return pointer[max(0, len(pointer)-maxPointer):]
}
