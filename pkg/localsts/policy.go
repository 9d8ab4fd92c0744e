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
	// plainSessionPolicies is the maximum number of characters of session policies (IAM
	// User Guide, reference_iam-quotas).
	plainSessionPolicies = 2048
	// packedSessionPolicies is the maximum number of bytes of session policies after
	// packing. AWS does not document how it packs them. It only states "An AWS conversion
	// compresses the passed inline session policy ... into a packed binary format that has
	// a separate limit". This server uses deflate. It reaches this limit with policies that
	// are close to plainSessionPolicies.
	packedSessionPolicies = 1024
)

// managedPolicies matches the ARNs of AWS managed policies. The server has no list of them,
// so it treats each matching ARN as an existing policy.
var managedPolicies = regexp.MustCompile(`^arn:aws[a-z-]*:iam::aws:policy/([!-~]+/)?[\w+=,.@-]{1,128}$`)

// hasPolicy reports whether a policy exists. It must be an AWS managed policy or one of the
// PolicyARNs of Options.
func (s *Server) hasPolicy(arn string) bool {
	return managedPolicies.MatchString(arn) || slices.Contains(s.options.PolicyARNs, arn)
}

// checkPolicyShape returns an error if document is not a JSON object with at least one
// statement. It does not check the statements, because this server never evaluates them.
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

// checkSessionPolicies returns the packed size of the session policies in percent of the
// limit, or 0 if there are none. It returns an error if a policy is malformed, does not
// exist, or if the policies are too large.
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

// nonSpaceLength returns the length of a policy as the quotas count it: "IAM doesn't count
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
