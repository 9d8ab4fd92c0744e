// Package jsonreader reads a few members of a large JSON document, skips the rest, and
// bounds the memory that lists and maps take. A document of a few bytes per element
// would otherwise become many times as large. It knows nothing of what it reads.
//
// Names are case-sensitive, of two equal names the last counts, null is the zero
// value, and invalid UTF-8 becomes U+FFFD: so does an API server read its clients'
// documents, or it never sends them.
package jsonreader

import (
	"bytes"
	"errors"
	"reflect"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValues is how many elements of lists and entries of maps a document can have, all
// together, so that work which compares each with each ends soon.
const MaxValues = 10_000

// ErrTooMany is the error of a document with more than MaxValues elements and entries.
var ErrTooMany = errors.New("too many elements and entries")

// ErrTooLarge is the error of a document whose lists and maps take more bytes than
// Read was given.
var ErrTooLarge = errors.New("lists and maps take too many bytes")

// Reader is at a value of a document, and each method reads that value. After an error
// the methods return zero values and empty lists, and Read returns the error.
type Reader struct {
	scanner
	// limit is ErrTooMany or ErrTooLarge; failed is set with any error, and unexpected if
	// the value at the position is of another kind than expected.
	limit              error
	failed, unexpected bool
	// bytes and values are how many of them the document can still take.
	bytes, values int
}

// Read calls read with a Reader at the document's value. Lists and maps can take
// maxBytes. The error is ErrTooMany, ErrTooLarge or an *Error. What the methods return
// does not share the document's memory, unless they say so.
func Read(document []byte, maxBytes int, read func(*Reader)) error {
	r := Reader{scanner: scanner{json: document}, bytes: maxBytes, values: MaxValues}
	read(&r)
	r.skip(0)
	r.peek()
	switch {
	case r.limit != nil:
		return r.limit
	case r.failed || r.at < len(document):
		return locate(document, r.at, r.unexpected)
	default:
		return nil
	}
}

// Null reports whether the value is null, and reads it only then.
func (r *Reader) Null() bool {
	return !r.failed && r.peek() == 'n' && r.check(r.literal("null"))
}

// Bool returns a boolean; null is false.
func (r *Reader) Bool() bool {
	switch {
	case r.Null():
		return false
	case r.isAt('t'):
		return r.check(r.literal("true"))
	case r.isAt('f'):
		r.check(r.literal("false"))
	default:
		r.fail()
	}
	return false
}

// String returns a string; null is an empty one.
func (r *Reader) String() string { return r.Unquote(r.Quoted()) }

// Quoted returns a string as it is written, with quotes and escapes; null is nil. It
// shares the document's memory.
func (r *Reader) Quoted() []byte {
	if r.Null() {
		return nil
	}
	if !r.isAt('"') {
		r.fail()
		return nil
	}
	from := r.at
	if !r.check(r.string()) {
		return nil
	}
	return r.json[from:r.at]
}

// Unquote returns what Quoted has returned as a string. It takes what that is longer than
// it is written: each byte of invalid UTF-8 becomes three.
func (r *Reader) Unquote(quoted []byte) string {
	if quoted == nil {
		return ""
	}
	valid := utf8.Valid(quoted)
	if !valid && !r.Take(3*len(quoted)) {
		return ""
	}
	if within := quoted[1 : len(quoted)-1]; valid && bytes.IndexByte(within, '\\') < 0 {
		return string(within)
	}
	text, _ := jsontext.AppendUnquote(nil, quoted) // the error is of what becomes U+FFFD
	return string(text)
}

// entryBytes is what an entry takes in a map that grows, as measured.
const entryBytes = 160

// Strings returns an object of strings; null is nil. Of names that are not wanted the
// string is empty; nil wants all.
func (r *Reader) Strings(wanted func(name string) bool) map[string]string {
	if r.Null() {
		return nil
	}
	texts := map[string]string{}
	for name := range r.Members {
		if !r.takeValue(entryBytes) {
			break
		}
		key := string(name)
		if !utf8.ValidString(key) {
			key = string([]rune(key))
			r.Take(len(key))
		}
		if value := r.Quoted(); wanted == nil || wanted(key) {
			texts[key] = r.Unquote(value)
		} else {
			texts[key] = ""
		}
	}
	return texts
}

// Members calls yield with the name of each member of an object, at whose value the
// Reader is then; null has none. A value that yield does not read is skipped. The name
// can share the document's memory, and have invalid UTF-8.
func (r *Reader) Members(yield func(name []byte) bool) {
	if !r.begin('{') {
		return
	}
	more := true
	for first := true; r.next('}', first); first = false {
		r.peek()
		from := r.at
		if !r.check(r.name()) {
			return
		}
		quoted := r.json[from : from+bytes.LastIndexByte(r.json[from:r.at], '"')+1]
		r.peek()
		at := r.at
		more = more && yield(unquoteName(quoted))
		r.skip(at)
	}
}

func unquoteName(quoted []byte) []byte {
	if within := quoted[1 : len(quoted)-1]; bytes.IndexByte(within, '\\') < 0 {
		return within
	}
	name, _ := jsontext.AppendUnquote(nil, quoted) // the error is of what becomes U+FFFD
	return name
}

// Elements calls yield for each element of a list, at which the Reader is then; null has
// none. An element that yield does not read is skipped.
func (r *Reader) Elements(yield func() bool) {
	if !r.begin('[') {
		return
	}
	more := true
	for first := true; r.next(']', first); first = false {
		r.peek()
		at := r.at
		more = more && yield()
		r.skip(at)
	}
}

// List returns what read makes of each element of a list, each of which takes extra
// bytes besides its size. null is nil, and an empty list is not.
func List[Element any](r *Reader, extra int, read func(*Element, *Reader)) []Element {
	if r.Null() {
		return nil
	}
	// While a list grows there are the old one and a new one that is twice as long.
	size := 3*int(reflect.TypeFor[Element]().Size()) + extra
	list := []Element{}
	for range r.Elements {
		if !r.takeValue(size) {
			break
		}
		list = append(list, *new(Element))
		read(&list[len(list)-1], r)
	}
	return list
}

// Pointer returns what read makes of a value, or nil for null.
func Pointer[Value any](r *Reader, read func(*Value, *Reader)) *Value {
	if r.Null() || !r.Take(int(reflect.TypeFor[Value]().Size())) {
		return nil
	}
	value := new(Value)
	read(value, r)
	return value
}

// Take reports whether the document can take so many more bytes, for what the caller
// makes of it.
func (r *Reader) Take(bytes int) bool {
	r.bytes -= bytes
	if r.bytes < 0 && !r.failed {
		r.limit, r.failed = ErrTooLarge, true
	}
	return !r.failed
}

func (r *Reader) takeValue(bytes int) bool {
	r.values--
	if r.values < 0 && !r.failed {
		r.limit, r.failed = ErrTooMany, true
	}
	return r.Take(bytes)
}

// begin reads the beginning of a list or an object, and reports whether it is there.
func (r *Reader) begin(bracket byte) bool {
	if r.failed || r.Null() {
		return false
	}
	if !r.isAt(bracket) {
		r.fail()
		return false
	}
	r.at++
	return true
}

// next reports whether there is one more element or member, and reads the bracket at the
// end if not.
func (r *Reader) next(bracket byte, first bool) bool {
	if r.failed || r.accept(bracket) {
		return false
	}
	return first || r.check(r.accept(','))
}

// skip skips the value at a position, unless it has been read.
func (r *Reader) skip(at int) {
	if !r.failed && r.at == at {
		r.check(r.value(maxDepth))
	}
}

// isAt reports whether the value begins with a byte.
func (r *Reader) isAt(first byte) bool { return r.peek() == first }

// check notes whether the document is as expected so far, and reports it.
func (r *Reader) check(ok bool) bool {
	r.failed = r.failed || !ok
	return !r.failed
}

// fail notes that the value at the position is of a kind that is not expected.
func (r *Reader) fail() {
	r.unexpected = r.unexpected || !r.failed
	r.failed = true
}
