package skim

import "github.com/go-json-experiment/json/jsontext"

// AppendText appends what comes before a JSON string, as it is, and the string. Bytes
// of that which are no UTF-8, as an annotation can hold, become U+FFFD as they do in
// the API server's own JSON.
func AppendText(to []byte, before, text string) []byte {
	// The error is of what becomes U+FFFD.
	to, _ = jsontext.AppendQuote(append(to, before...), text)
	return to
}
