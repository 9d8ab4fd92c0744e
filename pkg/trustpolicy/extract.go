package trustpolicy

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"unicode/utf16"
)

// maxLayers is the maximum number of encodings around a document.
const maxLayers = 4

// Extract returns the trust policy in the output of a tool. That is the policy itself, or
// the response of iam:GetRole. The policy can be a JSON string and URL-encoded, as IAM
// returns it, and begin with a byte order mark. It returns an error if the input is empty
// or a response without a policy.
func Extract(input []byte) ([]byte, error) {
	document := bytes.TrimSpace(decodeText(input))
	for range maxLayers {
		var text string
		var response struct {
			Role struct {
				AssumeRolePolicyDocument json.RawMessage
			}
			AssumeRolePolicyDocument json.RawMessage
		}
		switch {
		case len(document) == 0:
			return nil, errors.New("no trust policy: the input is empty")
		case document[0] == '%':
			decoded, err := url.PathUnescape(string(document))
			if err != nil {
				return nil, err
			}
			text = decoded
		case json.Unmarshal(document, &text) == nil:
		case json.Unmarshal(document, &response) == nil && len(response.Role.AssumeRolePolicyDocument) > 0:
			text = string(response.Role.AssumeRolePolicyDocument)
		case len(response.AssumeRolePolicyDocument) > 0:
			text = string(response.AssumeRolePolicyDocument)
		default:
			return document, nil
		}
		document = bytes.TrimSpace([]byte(text))
	}
	return document, nil
}

// decodeText removes a byte order mark, which PowerShell writes, and decodes UTF-16.
func decodeText(input []byte) []byte {
	if rest, ok := bytes.CutPrefix(input, []byte("\uFEFF")); ok {
		return rest
	}
	for mark, high := range map[string]int{"\xFF\xFE": 1, "\xFE\xFF": 0} {
		rest, ok := bytes.CutPrefix(input, []byte(mark))
		if !ok {
			continue
		}
		units := make([]uint16, 0, len(rest)/2)
		for ; len(rest) >= 2; rest = rest[2:] {
			units = append(units, uint16(rest[high])<<8|uint16(rest[1-high]))
		}
		return []byte(string(utf16.Decode(units)))
	}
	return input
}
