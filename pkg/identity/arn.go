package identity

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// roleARN is what IAM accepts as the ARN of a role, in any partition
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
var roleARN = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w/.@+=,-]*[\w.@+=,-]$`)

// IsRoleARN says whether s can be the ARN of a role in AWS.
func IsRoleARN(s string) bool { return roleARN.MatchString(s) }

// sessionName is what STS accepts as a role session name
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// IsSessionName says whether STS accepts s as a role session name.
func IsSessionName(s string) bool { return sessionName.MatchString(s) }

// IsEndpoint says whether s is a URL under which an SDK can reach a service.
func IsEndpoint(s string) bool {
	parsed, err := url.Parse(s)
	return err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != "" &&
		parsed.User == nil && parsed.RawQuery == "" && parsed.Fragment == ""
}

// Account is the AWS account that bare role names belong to.
type Account struct {
	// Partition is "aws", "aws-cn" and so on; ID has 12 digits.
	Partition, ID string
}

var (
	partition = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountID = regexp.MustCompile(`^\d{12}$`)
)

// Validate returns an error if there can be no such account.
func (a *Account) Validate() error {
	if !partition.MatchString(a.Partition) {
		return fmt.Errorf("%q is no partition, as aws or aws-cn is", a.Partition)
	}
	if !accountID.MatchString(a.ID) {
		return fmt.Errorf("%q is no account id of 12 digits", a.ID)
	}
	return nil
}

// compose returns the ARN of a role that is given by its name, or by its path
// and name. What holds "arn:" is an ARN already, as it is for AWS's webhook.
func (a *Account) compose(role string) string {
	if a == nil || role == "" || strings.Contains(role, "arn:") {
		return role
	}
	return "arn:" + a.Partition + ":iam::" + a.ID + ":role/" + strings.TrimPrefix(role, "/")
}
