package skim

import (
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// WriteField writes a member of an object whose value is a string.
func WriteField(e *jx.Encoder, name, text string) {
	e.FieldStart(name)
	WriteText(e, text)
}

// WriteText writes a string. Bytes that are no UTF-8, which an annotation can hold,
// become U+FFFD as they do in the API server's own JSON.
func WriteText(e *jx.Encoder, text string) { e.Str(valid(text)) }

func valid(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}
