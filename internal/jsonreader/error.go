package jsonreader

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// Error is the position of an invalid or unexpected value in a document. It never
// quotes a value, which may be a secret.
type Error struct {
	// Offset is the offset in bytes. Pointer is the JSON pointer of the value
	// (RFC 6901), or the end of the pointer if it is long.
	Offset  int64
	Pointer jsontext.Pointer
	// Kind is the JSON kind of the unexpected value, such as "array". It is empty if
	// the document is invalid JSON.
	Kind string
}

func (e *Error) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("at byte %d, %q: invalid JSON", e.Offset, e.Pointer)
	}
	return fmt.Sprintf("at byte %d, %q: a JSON %s cannot be used here", e.Offset, e.Pointer, e.Kind)
}

// locate decodes the document again with jsontext, up to the invalid JSON or the
// unexpected value at the offset. It returns the error with its position.
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

// maxPointer is the maximum length of a pointer in a message.
const maxPointer = 200

func end(pointer jsontext.Pointer) jsontext.Pointer {
	return pointer[max(0, len(pointer)-maxPointer):]
}
