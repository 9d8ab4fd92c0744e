// Package skim reads a few members of a large JSON document and passes over the
// rest, which it only checks to be JSON. Where JSON leaves a choice it does as
// github.com/go-json-experiment/json: names are compared to the letter, the last of two
// equal names counts, null is the zero value, and what is no UTF-8 becomes U+FFFD. With
// documents of an API server, in which names do not repeat, its own decoder agrees.
//
// It is for the one document that the webhook reads for every pod of a cluster. Its
// tests hold it to a library; docs/decisions/0013-hot-path.md says what that would
// cost in its place.
package skim

import (
	"bytes"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Reader is at a value of a document, and each method takes that value. After one
// that is not as expected there are only zero values and empty lists, and Read says
// why; so a caller has no error to look at after each step.
type Reader struct {
	scanner
	// depth is how much deeper values may be nested.
	depth int
	// taken says whether the value was taken; what nobody takes is skipped.
	taken bool
	// left is how many bytes may still be spent.
	left int
	// made is how many values were made.
	made int
	// failed says that there is no more to read; unexpected that it is because the
	// value at the position is of a kind that was not expected.
	failed, unexpected bool
}

// MaxValues is how many elements of lists and entries of maps are made of a document at
// most, so that who compares each with each other is done soon.
const MaxValues = 10_000

// Read calls read with a Reader at the document's value, which may spend most bytes on
// what it makes of the document, beside texts that are no longer than they are written.
// The error is ErrTooMany, ErrTooMuch or an *Error. Nothing of what the methods return
// shares the document's memory, unless they say so.
func Read(document []byte, most int, read func(*Reader)) error {
	r := Reader{scanner: scanner{json: document}, depth: maxDepth, left: most}
	read(&r)
	r.leave()
	r.peek()
	switch {
	case r.made > MaxValues:
		return ErrTooMany
	case r.left < 0:
		return ErrTooMuch
	case r.failed || r.at < len(document):
		return locate(document, r.at, r.unexpected)
	default:
		return nil
	}
}

// Null says whether the value is null, and takes it only if so.
func (r *Reader) Null() bool { return r.peek() == 'n' && r.take(r.literal("null")) }

// Text returns a string; null is an empty one.
func (r *Reader) Text() string { return r.TextOf(r.Quoted()) }

// Bool returns a boolean; null is false.
func (r *Reader) Bool() bool {
	switch {
	case r.failed || r.Null():
		return false
	case r.literal("true"):
		return r.take(true)
	case !r.literal("false"):
		r.failed, r.unexpected = true, true
	}
	r.taken = true
	return false
}

// TextOf returns the text of a string, and spends what it takes more than it is written
// with: each byte that is no UTF-8 takes three.
func (r *Reader) TextOf(q Quoted) string {
	if !utf8.Valid(q) && !r.Spend(3*len(q)) {
		return ""
	}
	return q.Text()
}

// Quoted returns a string as it is written; null is nil.
func (r *Reader) Quoted() Quoted {
	if !r.is('"') {
		return nil
	}
	from := r.at
	if !r.take(r.str()) {
		return nil
	}
	return Quoted(r.json[from:r.at])
}

// Texts returns an object of strings; null is nil. The text is empty of names that are
// not wanted; a nil wanted wants all.
func (r *Reader) Texts(wanted func(name string) bool) map[string]string {
	if r.Null() {
		return nil
	}
	texts := map[string]string{}
	for o := r.Object(); o.Next() && r.mayMake(entryBytes); {
		name, text := r.TextOf(o.name), r.Quoted()
		if wanted != nil && !wanted(name) {
			text = nil
		}
		texts[name] = r.TextOf(text)
	}
	return texts
}

// entryBytes is what an entry takes in a map that grows, as measured.
const entryBytes = 160

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
	r := o.reader
	if r == nil || !r.more('}', o.name == nil) {
		return false
	}
	if !r.take(r.peek() == '"') {
		return false
	}
	from := r.at
	if !r.take(r.str()) {
		return false
	}
	o.name = Quoted(r.json[from:r.at])
	r.taken = !r.take(r.accept(':'))
	return !r.failed
}

// Leave passes over the members that are left.
func (o *Object) Leave() {
	for r := o.reader; r != nil && r.more('}', false) && r.take(r.name()); {
		r.taken = false
	}
	o.reader = nil
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
	return Array{reader: r, first: true}
}

// Array is a loop over elements.
type Array struct {
	reader *Reader
	first  bool
}

// Next goes to the next element, which the Reader is at then. It returns false if
// there is none.
func (a *Array) Next() bool {
	if a.reader == nil || !a.reader.more(']', a.first) {
		return false
	}
	a.first, a.reader.taken = false, false
	return true
}

// List returns what read makes of each element of an array. null is nil, and an
// empty array is not.
func List[Element any](r *Reader, read func(*Element, *Reader)) []Element {
	if r.Null() {
		return nil
	}
	// When a list grows there are the old one and a new one that is twice as long.
	cost := 3 * int(reflect.TypeFor[Element]().Size())
	list := []Element{}
	for a := r.Array(); a.Next() && r.mayMake(cost); {
		list = append(list, *new(Element))
		read(&list[len(list)-1], r)
	}
	return list
}

// Pointer returns what read makes of a value, or nil for null.
func Pointer[Value any](r *Reader, read func(*Value, *Reader)) *Value {
	if r.Null() || !r.Spend(int(reflect.TypeFor[Value]().Size())) {
		return nil
	}
	value := new(Value)
	read(value, r)
	return value
}

// Spend says whether so many bytes may still be spent. It is for what a caller makes by
// himself.
func (r *Reader) Spend(bytes int) bool {
	r.left -= bytes
	r.failed = r.failed || r.left < 0
	return !r.failed
}

// mayMake says whether one more element or entry may be made, and so many bytes be spent on it.
func (r *Reader) mayMake(bytes int) bool {
	r.made++
	r.failed = r.failed || r.made > MaxValues
	return r.Spend(bytes)
}

// take says that the value was taken, or that it could not be.
func (r *Reader) take(taken bool) bool {
	r.taken = true
	r.failed = r.failed || !taken
	return !r.failed
}

// enter takes the beginning of an object or an array.
func (r *Reader) enter() {
	r.at++
	r.depth--
	r.take(r.depth >= 0)
}

// more says whether there is a further member or element, and takes the end if not.
func (r *Reader) more(end byte, first bool) bool {
	if !r.leave() {
		return false
	}
	if r.accept(end) {
		r.depth++
		return false
	}
	return first || r.take(r.accept(','))
}

// leave skips the value if nobody has taken it, and says whether all is well.
func (r *Reader) leave() bool {
	if !r.taken && !r.failed {
		r.take(r.value(r.depth))
	}
	return !r.failed
}

// is says whether the value is of the kind that begins with a byte. It takes null,
// which is of none; any other is an error.
func (r *Reader) is(kind byte) bool {
	if r.failed {
		return false
	}
	switch r.peek() {
	case kind:
		return true
	case 'n':
		r.take(r.literal("null"))
	default:
		r.failed, r.unexpected = true, true
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
