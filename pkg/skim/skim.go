// Package skim reads a few members of a large JSON document and passes over the
// rest, which it only checks to be JSON. It owns what is agreed with the API
// server's own decoder where JSON leaves a choice: names are compared to the
// letter, the last of two equal names counts, null is the zero value, and what is
// no UTF-8 becomes U+FFFD.
package skim

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-faster/jx"
	"github.com/go-json-experiment/json/jsontext"
)

// Reader is at a value of a document, and each method takes that value. After one
// that is not as expected there are only zero values and empty lists, and Read says
// why; so a caller has no error to look at after each step.
type Reader struct {
	decoder jx.Decoder
	// taken says whether the value was taken; what nobody takes is skipped.
	taken bool
	err   error
}

// Read calls read with a Reader at the document's value. The error is an *Error.
// Nothing of what the methods return shares the document's memory, unless they say so.
func Read(document []byte, read func(*Reader)) error {
	document = document[:len(document):len(document)] // see is
	var r Reader
	r.decoder.ResetBytes(document)
	read(&r)
	r.leave()
	if r.err == nil && r.decoder.Skip() != io.EOF { //nolint:errorlint // it is returned as it is
		r.err = errMalformed
	}
	if r.err != nil {
		return locate(document, r.err)
	}
	return nil
}

// Null says whether the value is null, and takes it only if so.
func (r *Reader) Null() bool {
	if r.err != nil || r.decoder.Next() != jx.Null {
		return false
	}
	r.taken, r.err = true, r.decoder.Null()
	return true
}

// Text returns a string; null is an empty one.
func (r *Reader) Text() string { return r.Quoted().Text() }

// Quoted returns a string as it is written; null is nil.
func (r *Reader) Quoted() Quoted {
	if !r.is(jx.String) {
		return nil
	}
	quoted, err := r.decoder.Raw()
	r.taken, r.err = true, err
	return Quoted(quoted)
}

// Texts returns an object of strings; null is nil.
func (r *Reader) Texts() map[string]string {
	if r.Null() {
		return nil
	}
	texts := map[string]string{}
	for o := r.Object(); o.Next(); {
		name := valid(string(o.Name()))
		texts[name] = r.Text()
	}
	return texts
}

// Object returns the members of an object; null has none.
func (r *Reader) Object() Object {
	if !r.is(jx.Object) {
		return Object{}
	}
	o := Object{reader: r}
	o.members, r.err = r.decoder.ObjIter()
	r.taken = true
	return o
}

// Object is a loop over members.
type Object struct {
	reader  *Reader
	members jx.ObjIter
}

// Next goes to the next member, whose value the Reader is at then. It returns false
// if there is none.
func (o *Object) Next() bool {
	if o.reader == nil || !o.reader.leave() {
		return false
	}
	next := o.members.Next()
	o.reader.taken = !next
	if !next {
		o.reader.err = o.members.Err()
	}
	return next
}

// Name is that of the member. It may share the document's memory.
func (o *Object) Name() []byte { return o.members.Key() }

// Array returns the elements of an array; null has none.
func (r *Reader) Array() Array {
	if !r.is(jx.Array) {
		return Array{}
	}
	a := Array{reader: r}
	a.elements, r.err = r.decoder.ArrIter()
	r.taken = true
	return a
}

// Array is a loop over elements.
type Array struct {
	reader   *Reader
	elements jx.ArrIter
}

// Next goes to the next element. It returns false if there is none.
func (a *Array) Next() bool {
	if a.reader == nil || !a.reader.leave() {
		return false
	}
	next := a.elements.Next()
	a.reader.taken = !next
	if !next {
		a.reader.err = a.elements.Err()
	}
	return next
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

// leave skips the value if nobody has taken it, and says whether all is well.
func (r *Reader) leave() bool {
	if !r.taken && r.err == nil {
		r.taken, r.err = true, r.decoder.Skip()
	}
	return r.err == nil
}

// is says whether the value is of a kind. It takes null, which is none, and any
// other, which is an error.
func (r *Reader) is(kind jx.Type) bool {
	if r.err != nil || r.Null() {
		return false
	}
	found := r.decoder.Next()
	if found == kind {
		return true
	}
	value, err := r.decoder.Raw()
	if r.err = err; err == nil {
		// A slice of the document, whose capacity goes on to the document's end.
		r.err = &unexpected{fromEnd: cap(value), kind: found}
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
