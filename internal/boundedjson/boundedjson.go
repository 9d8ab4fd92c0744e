// Package boundedjson decodes JSON documents of any origin into Go values, with a
// bound on the memory that lists and maps take. A document of a few bytes per element
// would otherwise become many times as large. It knows nothing of what it decodes.
//
// Names are case-sensitive, of two equal names the last counts, null is the zero
// value, and invalid UTF-8 becomes U+FFFD: so does an API server read its clients'
// documents, or it never sends them.
package boundedjson

import (
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxValues is how many elements of lists and entries of maps a document can have, all
// together, so that work which compares each with each ends soon.
const MaxValues = 10_000

// ErrTooMany is the error of a document with more than MaxValues elements and entries.
var ErrTooMany = errors.New("too many elements and entries")

// ErrTooLarge is the error of a document whose lists and maps take more bytes than
// Decode was given.
var ErrTooLarge = errors.New("lists and maps take too many bytes")

// Budget counts what one document becomes.
type Budget struct {
	bytes, values int
}

// Take takes so many values, each of which is an element or entry, and bytes. It
// returns an error if there are too few left.
func (b *Budget) Take(values, bytes int) error {
	b.values -= values
	b.bytes -= bytes
	switch {
	case b.values < 0:
		return ErrTooMany
	case b.bytes < 0:
		return ErrTooLarge
	default:
		return nil
	}
}

// Decoder decodes documents. It can be used by several goroutines.
type Decoder struct {
	pool sync.Pool
}

// bounded is what one document is decoded with.
type bounded struct {
	budget  Budget
	options json.Options
}

// NewDecoder returns a Decoder. Each of types makes the functions for one type of list,
// as List and Custom do; maps from text to text are bounded without one. A list of
// another type is not bounded.
func NewDecoder(types ...func(*Budget) *json.Unmarshalers) *Decoder {
	return &Decoder{pool: sync.Pool{New: func() any {
		b := new(bounded)
		unmarshalers := []*json.Unmarshalers{texts(&b.budget)}
		for _, makeFor := range types {
			unmarshalers = append(unmarshalers, makeFor(&b.budget))
		}
		b.options = json.JoinOptions(json.WithUnmarshalers(json.JoinUnmarshalers(unmarshalers...)),
			jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		return b
	}}}
}

// Decode decodes a document into value, a pointer. Lists and maps can take so many
// bytes. The error is ErrTooMany, ErrTooLarge or an *Error.
func (d *Decoder) Decode(document []byte, value any, bytes int) error {
	b := d.pool.Get().(*bounded)
	defer d.pool.Put(b)
	b.budget = Budget{bytes: bytes, values: MaxValues}
	err := json.Unmarshal(document, value, b.options)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrTooMany):
		return ErrTooMany
	case errors.Is(err, ErrTooLarge):
		return ErrTooLarge
	default:
		return newError(err)
	}
}

// List makes the function for lists of a type, each element of which takes extra bytes
// besides its size.
func List[Element any](extra int) func(*Budget) *json.Unmarshalers {
	// While a list grows there are the old one and a new one that is twice as long.
	size := 3*int(reflect.TypeFor[Element]().Size()) + extra
	return func(b *Budget) *json.Unmarshalers {
		return json.UnmarshalFromFunc(func(d *jsontext.Decoder, list *[]Element) error {
			*list = nil
			return Each(d, func() error {
				if err := b.Take(1, size); err != nil {
					return err
				}
				*list = append(*list, *new(Element))
				return json.UnmarshalDecode(d, &(*list)[len(*list)-1])
			}, func() { *list = []Element{} })
		})
	}
}

// Each calls element for each element of the list that d is at, which must decode it.
// It calls present first, unless the list is null.
func Each(d *jsontext.Decoder, element func() error, present func()) error {
	token, err := d.ReadToken()
	if err != nil || token.Kind() == 'n' {
		return err
	}
	if token.Kind() != '[' {
		return &json.SemanticError{JSONKind: token.Kind()}
	}
	present()
	for d.PeekKind() != ']' {
		if err := element(); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// entryBytes is what an entry takes in a map that grows, as measured.
const entryBytes = 160

func texts(b *Budget) *json.Unmarshalers {
	return json.UnmarshalFromFunc(func(d *jsontext.Decoder, texts *map[string]string) error {
		*texts = nil
		token, err := d.ReadToken()
		if err != nil || token.Kind() == 'n' {
			return err
		}
		if token.Kind() != '{' {
			return &json.SemanticError{JSONKind: token.Kind()}
		}
		*texts = map[string]string{}
		for d.PeekKind() != '}' {
			if err := b.Take(1, entryBytes); err != nil {
				return err
			}
			var name, value string
			if err := json.UnmarshalDecode(d, &name); err != nil {
				return err
			}
			if err := json.UnmarshalDecode(d, &value); err != nil {
				return err
			}
			(*texts)[name] = value
		}
		_, err = d.ReadToken()
		return err
	})
}

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

func newError(err error) *Error {
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return &Error{Offset: semantic.ByteOffset, Pointer: end(semantic.JSONPointer), Kind: kinds[semantic.JSONKind]}
	}
	if syntactic, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &Error{Offset: syntactic.ByteOffset, Pointer: end(syntactic.JSONPointer)}
	}
	return &Error{} // the document is empty
}

var kinds = map[jsontext.Kind]string{
	'n': "null", 't': "boolean", 'f': "boolean", '"': "string", '0': "number", '{': "object", '[': "array",
}

// maxPointer keeps long names out of messages.
const maxPointer = 200

func end(pointer jsontext.Pointer) jsontext.Pointer {
	return pointer[max(0, len(pointer)-maxPointer):]
}
