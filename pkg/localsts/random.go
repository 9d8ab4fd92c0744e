package localsts

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// newID returns a random unique identifier in IAM's format. It is a prefix for the type of
// the resource, followed by letters and digits (IAM User Guide, reference_identifiers,
// "Unique identifiers").
func newID(prefix string, length int) string {
	return prefix + rand.Text()[:length-len(prefix)]
}

// newSecret returns a secret access key: 240 random bits in 40 characters.
func newSecret() string {
	raw := make([]byte, 30)
	_, _ = rand.Read(raw) // crypto/rand.Read never returns an error
	return base64.StdEncoding.EncodeToString(raw)
}

// newRequestID returns a random request ID in the format of a UUID.
func newRequestID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw)
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}
