package localsts

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// list is a list in the XML form of the query protocol. An empty list is still an element.
type list[T any] struct {
	Members []T `xml:"member"`
}

func listOf[T any](members []T) list[T] { return list[T]{members} }

type metadata struct {
	RequestID string `xml:"RequestId"`
}

type errorResponse struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

// encodeResult returns the XML response of a call. A nil result is for calls that return
// nothing: their responses have no result element.
func encodeResult(namespace, action string, result any, requestID string) ([]byte, error) {
	var out bytes.Buffer
	encoder := xml.NewEncoder(&out)
	response := xml.StartElement{
		Name: xml.Name{Local: action + "Response"},
		Attr: []xml.Attr{{Name: xml.Name{Local: "xmlns"}, Value: namespace}},
	}
	if err := encoder.EncodeToken(response); err != nil {
		return nil, err
	}
	if result != nil {
		if err := encoder.EncodeElement(result, xml.StartElement{Name: xml.Name{Local: action + "Result"}}); err != nil {
			return nil, err
		}
	}
	if err := encoder.EncodeElement(metadata{requestID}, xml.StartElement{Name: xml.Name{Local: "ResponseMetadata"}}); err != nil {
		return nil, err
	}
	if err := encoder.EncodeToken(response.End()); err != nil {
		return nil, err
	}
	if err := encoder.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// encodeError returns the XML response for an error.
func encodeError(namespace string, f *apiError, requestID string) ([]byte, error) {
	return xml.Marshal(errorResponse{
		XMLName: xml.Name{Space: namespace, Local: "ErrorResponse"},
		Type:    f.kind(), Code: f.code, Message: f.message, RequestID: requestID,
	})
}

func write(w http.ResponseWriter, status int, requestID string, body []byte) {
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("x-amzn-RequestId", requestID)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has closed the connection
}

// timestamp formats a time as both APIs do: ISO 8601 in UTC, with whole seconds.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }

// encodedPolicy encodes a policy document as IAM returns it: "URL-encoded compliant with RFC
// 3986" (API reference, GetRole).
func encodedPolicy(document string) string {
	return strings.ReplaceAll(url.QueryEscape(document), "+", "%20")
}
