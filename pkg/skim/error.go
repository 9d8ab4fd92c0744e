package skim

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-faster/jx"
	"github.com/go-json-experiment/json/jsontext"
)

// Error says where a document is not what was expected. It never quotes a value,
// which may be a secret.
type Error struct {
	// Offset is that of the byte, and Pointer that of the value (RFC 6901).
	Offset  int
	Pointer string
	// Kind is what cannot be there, as "array"; empty if it is no JSON.
	Kind string
}

func (e *Error) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("at byte %d, %q: malformed JSON", e.Offset, e.Pointer)
	}
	return fmt.Sprintf("at byte %d, %q: a JSON %s cannot be used here", e.Offset, e.Pointer, e.Kind)
}

var errMalformed = errors.New("malformed JSON")

// unexpected is the error of a value that begins so many bytes before the end.
type unexpected struct {
	fromEnd int
	kind    jx.Type
}

func (u *unexpected) Error() string { return "unexpected JSON " + kindNames[u.kind] }

var kindNames = map[jx.Type]string{
	jx.Bool: "boolean", jx.String: "string", jx.Number: "number", jx.Object: "object", jx.Array: "array",
}

// locate reads the document again, as far as the fault: only then it matters where
// that is.
func locate(document []byte, err error) *Error {
	located := &Error{Offset: len(document)}
	wrong, isUnexpected := errors.AsType[*unexpected](err)
	if isUnexpected {
		located.Offset, located.Kind = len(document)-wrong.fromEnd, kindNames[wrong.kind]
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(document), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		_, err := decoder.ReadToken()
		if malformed, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			located.Offset, located.Pointer = int(malformed.ByteOffset), string(malformed.JSONPointer)
			return located
		}
		if err != nil || isUnexpected && decoder.InputOffset() > int64(located.Offset) {
			located.Pointer = string(decoder.StackPointer())
			return located
		}
	}
}
