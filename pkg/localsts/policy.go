package localsts

import (
	"bytes"
	"compress/flate"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// plainSessionPolicies is the most characters of session policies (IAM User
	// Guide, reference_iam-quotas).
	plainSessionPolicies = 2048
	// packedSessionPolicies is the most bytes of them once packed. How AWS packs is
	// its secret ("An AWS conversion compresses the passed inline session policy ...
	// into a packed binary format that has a separate limit"): this is deflate's size
	// against a limit that policies near the other one come near to.
	packedSessionPolicies = 1024
)

// managedPolicies are AWS's own, which are more than are known here: each that is
// named so is taken to be there.
var managedPolicies = regexp.MustCompile(`^arn:aws[a-z-]*:iam::aws:policy/([!-~]+/)?[\w+=,.@-]{1,128}$`)

// hasPolicy says whether a policy is there: one of AWS's, or one that the flag says.
func (s *Server) hasPolicy(arn string) bool {
	return managedPolicies.MatchString(arn) || slices.Contains(s.options.PolicyARNs, arn)
}

// checkPolicyShape sees that a policy is one at all. What it allows is not read:
// nothing here asks for it.
func checkPolicyShape(document string) error {
	var policy map[string]json.RawMessage
	if err := json.Unmarshal([]byte(document), &policy); err != nil {
		return malformedPolicy("This policy contains invalid Json")
	}
	switch statement := bytes.TrimSpace(policy["Statement"]); {
	case len(statement) == 0, string(statement) == "null", string(statement) == "[]":
		return malformedPolicy("Syntax errors in policy.")
	case statement[0] != '[' && statement[0] != '{':
		return malformedPolicy("Syntax errors in policy.")
	}
	return nil
}

// checkSessionPolicies returns how much of what is allowed they take, in percent;
// 0 without any.
func (s *Server) checkSessionPolicies(policy string, arns []string) (int, error) {
	if policy == "" && len(arns) == 0 {
		return 0, nil
	}
	if policy != "" {
		if err := checkPolicyShape(policy); err != nil {
			return 0, err
		}
	}
	for _, arn := range arns {
		if !s.hasPolicy(arn) {
			return 0, malformedPolicy("Policy " + stripControlChars(arn) + " does not exist or is not attachable.")
		}
	}
	plain := policy + strings.Join(arns, "")
	if utf8.RuneCountInString(plain) > plainSessionPolicies {
		return 0, packedPolicyTooLarge(utf8.RuneCountInString(plain) * 100 / plainSessionPolicies)
	}
	var packed bytes.Buffer
	writer, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return 0, err
	}
	if _, err := writer.Write([]byte(plain)); err != nil {
		return 0, err
	}
	if err := writer.Close(); err != nil {
		return 0, err
	}
	percent := max(1, packed.Len()*100/packedSessionPolicies)
	if percent > 100 {
		return 0, packedPolicyTooLarge(percent)
	}
	return percent, nil
}

func packedPolicyTooLarge(percent int) error {
	return newAPIError(http.StatusBadRequest, "PackedPolicyTooLarge", "Packed policy consumes %d%% of allotted space, please use smaller policy.", percent)
}

// nonSpaceLength is the length of a policy as quotas count it: "IAM doesn't count
// white space" (IAM User Guide, reference_iam-quotas).
func nonSpaceLength(document string) int {
	count := 0
	for _, c := range document {
		if !unicode.IsSpace(c) {
			count++
		}
	}
	return count
}
