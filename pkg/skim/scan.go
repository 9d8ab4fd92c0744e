package skim

import "bytes"

// maxDepth is that of encoding/json, and of the library that Read locates errors with.
const maxDepth = 10_000

// scanner goes over the text of a JSON document (RFC 8259), from value to value. It
// does not look at UTF-8, as Quoted.Text does, and a half of a surrogate pair is an
// escape like any other. A method that returns false has found something else at the
// position than what it takes.
type scanner struct {
	json []byte
	at   int
}

// Classes of bytes.
const (
	plain   = iota // in a string: stands for itself
	special        // in a string: ends it, escapes, or may not be there
	space
)

var classes = [256]uint8{
	0: special, 1: special, 2: special, 3: special, 4: special, 5: special, 6: special, 7: special, 8: special,
	'\t': special | space, '\n': special | space, 11: special, 12: special, '\r': special | space, 14: special, 15: special,
	16: special, 17: special, 18: special, 19: special, 20: special, 21: special, 22: special, 23: special,
	24: special, 25: special, 26: special, 27: special, 28: special, 29: special, 30: special, 31: special,
	' ': space, '"': special, '\\': special,
}

// peek passes over space and returns the byte after it, or 0 at the end.
func (s *scanner) peek() byte {
	for s.at < len(s.json) {
		c := s.json[s.at]
		if classes[c]&space == 0 {
			return c
		}
		s.at++
	}
	return 0
}

// literal takes a text as it is.
func (s *scanner) literal(text string) bool {
	if !bytes.HasPrefix(s.json[s.at:], []byte(text)) {
		return false
	}
	s.at += len(text)
	return true
}

// accept takes a byte, after space.
func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// str takes a string.
func (s *scanner) str() bool {
	at := s.at + 1 // after the quote
	for at < len(s.json) {
		c := s.json[at]
		at++
		if classes[c]&special == 0 {
			continue
		}
		switch {
		case c == '"':
			s.at = at
			return true
		case c != '\\' || at == len(s.json):
			s.at = at - 1
			return false
		case s.json[at] == 'u':
			if !isHex(s.json[at+1:]) {
				return false
			}
			at += 5
		case bytes.IndexByte([]byte(`"\/bfnrt`), s.json[at]) < 0:
			return false
		default:
			at++
		}
	}
	return false
}

func isHex(text []byte) bool {
	if len(text) < 4 {
		return false
	}
	for _, c := range text[:4] {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// number takes a number.
func (s *scanner) number() bool {
	if s.at < len(s.json) && s.json[s.at] == '-' {
		s.at++
	}
	first := s.at
	if !s.digits() || s.json[first] == '0' && s.at > first+1 {
		return false
	}
	if s.at < len(s.json) && s.json[s.at] == '.' {
		s.at++
		if !s.digits() {
			return false
		}
	}
	if s.at < len(s.json) && s.json[s.at]|0x20 == 'e' {
		s.at++
		if s.at < len(s.json) && (s.json[s.at] == '+' || s.json[s.at] == '-') {
			s.at++
		}
		return s.digits()
	}
	return true
}

// digits takes one digit or more.
func (s *scanner) digits() bool {
	first := s.at
	for s.at < len(s.json) && s.json[s.at] >= '0' && s.json[s.at] <= '9' {
		s.at++
	}
	return s.at > first
}

// value takes any value, after space, that is nested no deeper than depth.
func (s *scanner) value(depth int) bool {
	switch c := s.peek(); c {
	case '"':
		return s.str()
	case '{':
		return depth > 0 && s.object(depth-1)
	case '[':
		return depth > 0 && s.array(depth-1)
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	default:
		return s.number()
	}
}

func (s *scanner) object(depth int) bool {
	s.at++
	if s.accept('}') {
		return true
	}
	for s.name() && s.value(depth) {
		if !s.accept(',') {
			return s.accept('}')
		}
	}
	return false
}

// name takes the name of a member and the colon.
func (s *scanner) name() bool { return s.peek() == '"' && s.str() && s.accept(':') }

func (s *scanner) array(depth int) bool {
	s.at++
	if s.accept(']') {
		return true
	}
	for s.value(depth) {
		if !s.accept(',') {
			return s.accept(']')
		}
	}
	return false
}
