// Package jsonreader reads a few members of a large JSON document and skips the rest. It
// limits the memory of lists and maps. A document with a few bytes per element could
// otherwise need many times its size in memory.
//
// Names are case-sensitive. If a name occurs twice, the last value counts. null is the
// zero value, and invalid UTF-8 becomes U+FFFD. An API server reads the documents of its
// clients in the same way, or never sends such documents.
package jsonreader

import (
	"bytes"
	"errors"
	"reflect"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxValues is the maximum total number of list elements and map entries of a document,
// so that code that compares all pairs takes limited time.
const MaxValues = 10_000

// ErrTooMany is the error of a document with more than MaxValues elements and entries.
var ErrTooMany = errors.New("too many elements and entries")

// ErrTooLarge is the error of a document whose lists and maps need more bytes than the
// limit given to Read.
var ErrTooLarge = errors.New("lists and maps take too many bytes")

// Reader is positioned at a value of a document, and each method reads that value.
// After an error all methods return zero values and empty lists, and Read returns the
// error.
type Reader struct {
	scanner
	// limit is ErrTooMany or ErrTooLarge. failed is set after any error. unexpected is
	// set if the value at the position has an unexpected kind.
	limit              error
	failed, unexpected bool
	// bytes and values are the remaining limits.
	bytes, values int
}

// Read calls read with a Reader at the document's value. Lists and maps can need at most
// maxBytes. Read returns ErrTooMany, ErrTooLarge or an *Error. The values that methods of
// Reader return do not share the document's memory, except where noted.
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

// Null reports whether the value is null. It reads the value only if it is null.
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

// Quoted returns a string as written, with quotes and escapes; null is nil. The result
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

// Unquote decodes a result of Quoted. If the string has invalid UTF-8, it is charged to
// the memory limit, because each invalid byte becomes three.
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
	text, _ := jsontext.AppendUnquote(nil, quoted) // the error concerns bytes that become U+FFFD
	return string(text)
}

// entryBytes is the measured memory of an entry in a growing map.
const entryBytes = 160

// Strings returns an object of strings; null is nil. Values of names that are not wanted
// are empty; if wanted is nil, all are wanted.
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

// Members calls yield with the name of each member of an object; null has none. The
// Reader is then positioned at the member's value. A value that yield does not read is
// skipped. The name can share the document's memory and have invalid UTF-8.
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
	name, _ := jsontext.AppendUnquote(nil, quoted) // the error concerns bytes that become U+FFFD
	return name
}

// Elements calls yield for each element of a list, with the Reader positioned at it;
// null has none. An element that yield does not read is skipped.
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

// List returns a list whose elements are read by read. Each element needs extra bytes in
// addition to its size. null is nil, and an empty list is not nil.
func List[Element any](r *Reader, extra int, read func(*Element, *Reader)) []Element {
	if r.Null() {
		return nil
	}
	// While a slice grows, the old one and a new one of twice the length exist.
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

// Pointer returns a pointer to a value that is read by read, or nil for null.
func Pointer[Value any](r *Reader, read func(*Value, *Reader)) *Value {
	if r.Null() || !r.Take(int(reflect.TypeFor[Value]().Size())) {
		return nil
	}
	value := new(Value)
	read(value, r)
	return value
}

// Take charges bytes to the memory limit, for values that the caller creates. It reports
// whether the limit is not exceeded.
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

// begin reads the opening bracket of a list or an object, and reports whether there is
// one.
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

// next reports whether there is another element or member. If not, it reads the closing
// bracket.
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

// isAt reports whether the value begins with the byte.
func (r *Reader) isAt(first byte) bool { return r.peek() == first }

// check sets failed if ok is false, and reports whether there has been no error so far.
func (r *Reader) check(ok bool) bool {
	r.failed = r.failed || !ok
	return !r.failed
}

// fail records that the value at the position has an unexpected kind.
func (r *Reader) fail() {
	r.unexpected = r.unexpected || !r.failed
	r.failed = true
}
