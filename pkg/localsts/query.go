package localsts

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"unicode/utf8"
)

// maxBody is the maximum size of a request body in bytes. The largest parameter is a trust
// policy of 131,072 characters. Form encoding uses three bytes for each of them at most.
const maxBody = 512 << 10

// api is one of the two APIs.
type api struct {
	// service is the name of the API in the scope of a signature.
	service   string
	version   string
	namespace string
}

// apis is indexed by the parameter Version of the calls.
var apis = map[string]api{
	"2011-06-15": {"sts", "2011-06-15", "https://sts.amazonaws.com/doc/2011-06-15/"},
	"2010-05-08": {"iam", "2010-05-08", "https://iam.amazonaws.com/doc/2010-05-08/"},
}

// faultNamespace is the XML namespace of responses to calls that belong to neither API.
const faultNamespace = "http://webservices.amazon.com/AWSFault/2005-15-09"

// query is a request of the query protocol: "Making query requests" in the STS and the IAM
// API reference.
type query struct {
	action, version string
	values          url.Values
}

// readBody reads the request body. It returns an error if the body is larger than maxBody
// or incomplete.
func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, newAPIError(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request is larger than %d bytes.", maxBody)
	}
	if err != nil {
		return nil, malformedQuery("the request body is incomplete")
	}
	return body, nil
}

// parseQuery parses the parameters of a call in the URL and in the form in the body. If a
// parameter is in both, the value in the body comes first. It returns an error if either is
// not form-encoded or contains characters that XML cannot represent.
func parseQuery(rawQuery, contentType string, body []byte) (query, error) {
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return query{}, malformedQuery("the parameters are not form-encoded")
	}
	if len(body) > 0 {
		if kind, _, err := mime.ParseMediaType(contentType); err != nil || kind != "application/x-www-form-urlencoded" {
			return query{}, malformedQuery("the Content-Type must be application/x-www-form-urlencoded")
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return query{}, malformedQuery("the parameters are not form-encoded")
		}
		for name, given := range form {
			values[name] = append(given, values[name]...)
		}
	}
	for name, given := range values {
		for _, value := range given {
			if !isText(name) || !isText(value) {
				return query{}, malformedQuery("a parameter contains characters that are not allowed in XML")
			}
		}
	}
	return query{action: values.Get("Action"), version: values.Get("Version"), values: values}, nil
}

// isText reports whether s contains only characters that XML allows (XML 1.0, section 2.2).
// Responses quote parameters, so all parameters must be text.
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
