package localsts

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// maxBody is more than any call needs: a trust policy of 131,072 characters, the
// most that IAM's API takes before its quota, each written as three.
const maxBody = 512 << 10

// api is one of the two APIs that are served, by the Version of its calls.
type api struct {
	// service is its name in the scope of a signature.
	service   string
	version   string
	namespace string
}

var apis = map[string]api{
	"2011-06-15": {"sts", "2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"},
	"2010-05-08": {"iam", "2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"},
}

// faultNamespace is that of answers to calls of neither API.
const faultNamespace = "http://webservices.amazon.com/AWSFault/2005-15-09"

// query is a call of a query API: "Making query requests" in the STS and the IAM
// API reference.
type query struct {
	action, version string
	values          url.Values
}

// readBody reads a request's body, up to the limit.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, newAPIError(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request is larger than %d bytes.", maxBody)
	}
	if err != nil {
		return nil, malformedQuery("the request ends too early")
	}
	return body, nil
}

// parseQuery reads the parameters of a call, from the URL and from the form in the
// body, of which the body's come first.
func parseQuery(rawQuery, contentType string, body []byte) (query, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return query{}, malformedQuery("it is not form-encoded")
	}
	if len(body) > 0 {
		if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/x-www-form-urlencoded" {
			return query{}, malformedQuery("the Content-Type has to be application/x-www-form-urlencoded")
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return query{}, malformedQuery("it is not form-encoded")
		}
		for name, given := range form {
			values[name] = append(given, values[name]...)
		}
	}
	for name, given := range values {
		for _, value := range given {
			if !isText(name) || !isText(value) {
				return query{}, malformedQuery("it has characters that are no text")
			}
		}
	}
	return query{action: values.Get("Action"), version: values.Get("Version"), values: values}, nil
}

// isText says that XML can hold s (XML 1.0, section 2.2), as an answer has to that
// quotes it.
func isText(s string) bool {
	for _, c := range s {
		switch {
		case c == '\t', c == '\n', c == '\r', c >= ' ' && c <= 0xD7FF, c >= 0xE000 && c <= 0xFFFD, c >= 0x10000:
		default:
			return false
		}
	}
	return utf8.ValidString(s)
}
