package skim

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

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

// peek passes over space and returns the byte after it, or 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.json) && s.json[s.at] > ' ' {
		return s.json[s.at]
	}
	return s.pass()
}

func (s *scanner) pass() byte {
	for ; s.at < len(s.json); s.at++ {
		switch c := s.json[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
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
	for s.at++; s.at < len(s.json); s.at++ { // from the quote, or from an escape's end
		s.plain()
		switch {
		case s.at == len(s.json):
			return false
		case s.json[s.at] == '"':
			s.at++
			return true
		case s.json[s.at] != '\\' || !s.escape():
			return false
		}
	}
	return false
}

// plain passes over the bytes of a string that stand for themselves: all but quotes,
// backslashes and control characters. It looks at eight at a time, since most of a
// document is in strings.
func (s *scanner) plain() {
	const ones = 0x0101010101010101
	for ; s.at+8 <= len(s.json); s.at += 8 {
		eight := binary.LittleEndian.Uint64(s.json[s.at:])
		quotes, backslashes := eight^ones*'"', eight^ones*'\\'
		// The highest bit of a byte is set if that is below what is subtracted. Bytes
		// behind the first such may have it too, which does not matter.
		found := ((eight - ones*' ') &^ eight) | ((quotes - ones) &^ quotes) | ((backslashes - ones) &^ backslashes)
		if found &= ones << 7; found != 0 {
			s.at += bits.TrailingZeros64(found) / 8
			return
		}
	}
	for s.at < len(s.json) && s.json[s.at] >= ' ' && s.json[s.at] != '"' && s.json[s.at] != '\\' {
		s.at++
	}
}

// escape goes to the last byte of an escape.
func (s *scanner) escape() bool {
	s.at++
	if s.at == len(s.json) {
		return false
	}
	switch s.json[s.at] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	case 'u':
		s.at += 4
		return s.at < len(s.json) && isHex(s.json[s.at-3:s.at+1])
	default:
		return false
	}
}

func isHex(digits []byte) bool {
	for _, c := range digits {
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
