package localsts

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// newID returns a unique identifier of IAM's shape: a prefix that says of what, and
// letters and digits (IAM User Guide, reference_identifiers, "Unique identifiers").
func newID(prefix string, length int) string {
	return prefix + rand.Text()[:length-len(prefix)]
}

// newSecret returns a secret access key: 240 random bits in 40 characters.
func newSecret() string {
	raw := make([]byte, 30)
	_, _ = rand.Read(raw) // it never fails: see its documentation
	return base64.StdEncoding.EncodeToString(raw)
}

func newRequestID() string {
	raw := make([]byte, 16)
	_, _ = rand.Read(raw)
	return fmt.Sprintf("%x-%x-%x-%x-%x", raw[:4], raw[4:6], raw[6:8], raw[8:10], raw[10:])
}
