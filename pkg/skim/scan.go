package skim

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// maxDepth is that of encoding/json, and of the library that locate uses.
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
	at := s.at + 1 // after the quote
	for {
		at = plain(s.json, at)
		if at == len(s.json) {
			return false
		}
		switch s.json[at] {
		case '"':
			s.at = at + 1
			return true
		case '\\':
			if at = escape(s.json, at); at < 0 {
				return false
			}
		default:
			return false
		}
	}
}

// plain returns where in a string there is a byte that does not stand for itself: a
// quote, a backslash or a control character. It looks at eight at a time, since most
// of a document is in strings.
func plain(json []byte, at int) int {
	const ones = 0x0101010101010101
	for ; at+8 <= len(json); at += 8 {
		eight := binary.LittleEndian.Uint64(json[at:])
		quotes, backslashes := eight^ones*'"', eight^ones*'\\'
		// The highest bit of a byte is set if that is below what is subtracted. Bytes
		// behind the first such may have it too, which does not matter.
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

// escape returns where an escape ends, or -1 if it is none.
func escape(json []byte, at int) int {
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

// value takes any value, after space, that is nested no deeper than depth. It does not
// call itself: a goroutine's stack that has grown once stays large.
func (s *scanner) value(depth int) bool {
	within := make([]byte, 0, 64) // the ends of what the position is in
	for {
		switch c := s.peek(); c {
		case '{', '[':
			s.at++
			end := c + '}' - '{' // as much as from [ to ]
			if s.accept(end) {
				break
			}
			if within = append(within, end); len(within) > depth || end == '}' && !s.name() {
				return false
			}
			continue
		default:
			if !s.scalar(c) {
				return false
			}
		}
		for {
			if len(within) == 0 {
				return true
			}
			end := within[len(within)-1]
			if s.accept(',') {
				if end == '}' && !s.name() {
					return false
				}
				break
			}
			if !s.accept(end) {
				return false
			}
			within = within[:len(within)-1]
		}
	}
}

// scalar takes a value that has no values within, and begins with c.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case '"':
		return s.str()
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

// name takes the name of a member and the colon.
func (s *scanner) name() bool { return s.peek() == '"' && s.str() && s.accept(':') }
