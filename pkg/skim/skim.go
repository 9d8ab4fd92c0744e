// Package skim reads a few members of a large JSON document and passes over the
// rest, which it only checks to be JSON. It owns what is agreed with the API
// server's own decoder where JSON leaves a choice: names are compared to the
// letter, the last of two equal names counts, null is the zero value, and what is
// no UTF-8 becomes U+FFFD.
package skim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Reader is at a value of a document, and each method takes that value. After one
// that is not as expected there are only zero values and empty lists, and Read says
// why; so a caller has no error to look at after each step.
type Reader struct {
	decoder *jsontext.Decoder
	// taken says whether the value was taken; what nobody takes is skipped.
	taken bool
	err   error
}

// decoders are reused: each has tables for the state that it is in.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// Read calls read with a Reader at the document's value. The error is an *Error.
// Nothing of what the methods return shares the document's memory, unless they say so.
func Read(document []byte, read func(*Reader)) error {
	r := Reader{decoder: decoders.Get().(*jsontext.Decoder)}
	defer func() {
		r.decoder.Reset(new(bytes.Buffer)) // lets go of the document
		decoders.Put(r.decoder)
	}()
	// A bytes.Buffer's memory is read where it is.
	r.decoder.Reset(bytes.NewBuffer(document), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	read(&r)
	r.leave()
	if r.err != nil {
		return locate(r.err)
	}
	end := r.decoder.InputOffset()
	switch _, err := r.decoder.ReadToken(); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil: // a document after the document
		return &Error{Offset: end}
	default:
		return locate(err)
	}
}

// Null says whether the value is null, and takes it only if so.
func (r *Reader) Null() bool {
	if r.err != nil || r.decoder.PeekKind() != 'n' {
		return false
	}
	r.take()
	return true
}

// Text returns a string; null is an empty one.
func (r *Reader) Text() string { return r.Quoted().Text() }

// Quoted returns a string as it is written; null is nil.
func (r *Reader) Quoted() Quoted {
	if !r.is('"') {
		return nil
	}
	return Quoted(r.take())
}

// Texts returns an object of strings; null is nil.
func (r *Reader) Texts() map[string]string {
	if r.Null() {
		return nil
	}
	texts := map[string]string{}
	for o := r.Object(); o.Next(); {
		name := o.name.Text()
		texts[name] = r.Text()
	}
	return texts
}

// Object returns the members of an object; null has none.
func (r *Reader) Object() Object {
	if !r.is('{') {
		return Object{}
	}
	r.enter()
	return Object{reader: r}
}

// Object is a loop over members.
type Object struct {
	reader *Reader
	name   Quoted
}

// Next goes to the next member, whose value the Reader is at then. It returns false
// if there is none.
func (o *Object) Next() bool {
	if o.reader == nil || !o.reader.more('}') {
		return false
	}
	o.name = Quoted(o.reader.take())
	o.reader.taken = false
	return o.reader.err == nil
}

// Name is that of the member. It may share the document's memory.
func (o *Object) Name() []byte {
	if within := o.name[1 : len(o.name)-1]; bytes.IndexByte(within, '\\') < 0 {
		return within
	}
	return []byte(o.name.Text())
}

// Array returns the elements of an array; null has none.
func (r *Reader) Array() Array {
	if !r.is('[') {
		return Array{}
	}
	r.enter()
	return Array{reader: r}
}

// Array is a loop over elements.
type Array struct{ reader *Reader }

// Next goes to the next element. It returns false if there is none.
func (a *Array) Next() bool {
	if a.reader == nil || !a.reader.more(']') {
		return false
	}
	a.reader.taken = false
	return true
}

// List returns what read makes of each element of an array. null is nil, and an
// empty array is not.
func List[Element any](r *Reader, read func(*Element, *Reader)) []Element {
	if r.Null() {
		return nil
	}
	list := []Element{}
	for a := r.Array(); a.Next(); {
		list = append(list, *new(Element))
		read(&list[len(list)-1], r)
	}
	return list
}

// Pointer returns what read makes of a value, or nil for null.
func Pointer[Value any](r *Reader, read func(*Value, *Reader)) *Value {
	if r.Null() {
		return nil
	}
	value := new(Value)
	read(value, r)
	return value
}

// take takes the value, whatever it is.
func (r *Reader) take() (value jsontext.Value) {
	r.taken = true
	value, r.err = r.decoder.ReadValue()
	return value
}

// enter takes the beginning of an object or an array.
func (r *Reader) enter() {
	r.taken = true
	_, r.err = r.decoder.ReadToken()
}

// more says whether there is a further member or element, and takes the end if not.
func (r *Reader) more(end jsontext.Kind) bool {
	if !r.leave() {
		return false
	}
	if r.decoder.PeekKind() != end {
		return true
	}
	r.enter()
	return false
}

// leave skips the value if nobody has taken it, and says whether all is well.
func (r *Reader) leave() bool {
	if !r.taken && r.err == nil {
		r.take()
	}
	return r.err == nil
}

// is says whether the value is of a kind. It takes null, which is none, and any
// other, which is an error.
func (r *Reader) is(kind jsontext.Kind) bool {
	if r.err != nil {
		return false
	}
	switch found := r.decoder.PeekKind(); found {
	case kind:
		return true
	case 'n':
		r.take()
	default:
		if value := r.take(); r.err == nil {
			r.err = &Error{
				Offset:  r.decoder.InputOffset() - int64(len(value)),
				Pointer: r.decoder.StackPointer(), Kind: kinds[found],
			}
		}
	}
	return false
}

// Quoted is a string as it is written, between quotes and with its escapes. It
// shares the document's memory.
type Quoted []byte

// Text returns the string.
func (q Quoted) Text() string {
	if q == nil {
		return ""
	}
	if within := q[1 : len(q)-1]; bytes.IndexByte(within, '\\') < 0 && utf8.Valid(within) {
		return string(within)
	}
	// The error is of what becomes U+FFFD.
	text, _ := jsontext.AppendUnquote(nil, q)
	return string(text)
}

// HasPrefix says whether the string begins with prefix.
func (q Quoted) HasPrefix(prefix string) bool {
	if q == nil || bytes.IndexByte(q, '\\') >= 0 {
		return strings.HasPrefix(q.Text(), prefix)
	}
	return strings.HasPrefix(string(q[1:]), prefix)
}

// Error says where a document is not what was expected. It never quotes a value,
// which may be a secret.
type Error struct {
	// Offset is that of the byte, and Pointer that of the value.
	Offset  int64
	Pointer jsontext.Pointer
	// Kind is what cannot be there, as "array"; empty if it is no JSON.
	Kind string
}

func (e *Error) Error() string {
	if e.Kind == "" {
		return fmt.Sprintf("at byte %d, %q: malformed JSON", e.Offset, e.Pointer)
	}
	return fmt.Sprintf("at byte %d, %q: a JSON %s cannot be used here", e.Offset, e.Pointer, e.Kind)
}

// kinds says what a JSON value is.
var kinds = map[jsontext.Kind]string{
	't': "boolean", 'f': "boolean", '"': "string", '0': "number", '{': "object", '[': "array",
}

// locate makes an *Error of the decoder's, which tells more than where.
func locate(err error) error {
	if ours, ok := errors.AsType[*Error](err); ok {
		return ours
	}
	if malformed, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return &Error{Offset: malformed.ByteOffset, Pointer: malformed.JSONPointer}
	}
	return &Error{}
}
