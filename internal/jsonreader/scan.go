package jsonreader

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is the maximum depth of encoding/json, and of jsontext, which locate uses.
const maxDepth = 10_000

// scanner is a position in a JSON document (RFC 8259). Its methods accept a value, that
// is, move past it and return true, or return false if there is something else. They
// accept invalid UTF-8 and half a surrogate pair, which Reader.Unquote replaces.
type scanner struct {
	json []byte
	at   int
}

// peek skips white space and returns the byte after it, or 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.json) && s.json[s.at] > ' ' {
		return s.json[s.at]
	}
	return s.skipSpace()
}

func (s *scanner) skipSpace() byte {
	for ; s.at < len(s.json); s.at++ {
		switch c := s.json[s.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// literal accepts text.
func (s *scanner) literal(text string) bool {
	if !bytes.HasPrefix(s.json[s.at:], []byte(text)) {
		return false
	}
	s.at += len(text)
	return true
}

// accept accepts a byte, after white space.
func (s *scanner) accept(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// string accepts a string.
func (s *scanner) string() bool {
	at := s.at + 1 // the opening quote
	for {
		at = findSpecial(s.json, at)
		if at == len(s.json) {
			return false
		}
		switch s.json[at] {
		case '"':
			s.at = at + 1
			return true
		case '\\':
			if at = skipEscape(s.json, at); at < 0 {
				return false
			}
		default:
			return false
		}
	}
}

// findSpecial returns the position of the next byte of a string that is a quote, a
// backslash or a control character. It compares eight bytes at a time, because most of a
// document consists of strings.
func findSpecial(json []byte, at int) int {
	const ones = 0x0101010101010101
	for ; at+8 <= len(json); at += 8 {
		eight := binary.LittleEndian.Uint64(json[at:])
		quotes, backslashes := eight^ones*'"', eight^ones*'\\'
		// Each term sets the highest bit of a byte that is less than the subtracted
		// byte. Bytes after the first such byte may have it set too, which does not
		// matter.
		found := ((eight - ones*' ') &^ eight) | ((quotes - ones) &^ quotes) | ((backslashes - ones) &^ backslashes)
		if found &= ones << 7; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(json) && json[at] >= ' ' && json[at] != '"' && json[at] != '\\' {
		at++
	}
	return at
}

// skipEscape returns the position after an escape sequence, or -1 if it is invalid.
func skipEscape(json []byte, at int) int {
	if at+1 == len(json) {
		return -1
	}
	switch json[at+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return at + 2
	case 'u':
		if at+6 <= len(json) && isHex(json[at+2:at+6]) {
			return at + 6
		}
	}
	return -1
}

func isHex(digits []byte) bool {
	for _, c := range digits {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// number accepts a number.
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

// digits accepts one or more digits.
func (s *scanner) digits() bool {
	first := s.at
	for s.at < len(s.json) && s.json[s.at] >= '0' && s.json[s.at] <= '9' {
		s.at++
	}
	return s.at > first
}

// value accepts any value, after white space, that is nested no deeper than depth. It is
// not recursive, so that a nested document does not grow the goroutine's stack.
func (s *scanner) value(depth int) bool {
	open := make([]byte, 0, 64) // closing brackets of the enclosing values
	for {
		switch c := s.peek(); c {
		case '{', '[':
			s.at++
			end := c + '}' - '{' // the same distance as from [ to ]
			if s.accept(end) {
				break
			}
			if open = append(open, end); len(open) > depth || end == '}' && !s.name() {
				return false
			}
			continue
		default:
			if !s.scalar(c) {
				return false
			}
		}
		for {
			if len(open) == 0 {
				return true
			}
			end := open[len(open)-1]
			if s.accept(',') {
				if end == '}' && !s.name() {
					return false
				}
				break
			}
			if !s.accept(end) {
				return false
			}
			open = open[:len(open)-1]
		}
	}
}

// scalar accepts a value other than a list or an object. The value begins with c.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case '"':
		return s.string()
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

// name accepts the name of a member and the colon.
func (s *scanner) name() bool { return s.peek() == '"' && s.string() && s.accept(':') }
