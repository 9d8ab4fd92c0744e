package identity

import (
	"fmt"
	"regexp"
	"strings"
)

// roleARN is what IAM accepts as the ARN of a role, in any partition
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
var roleARN = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w/.@+=,-]*[\w.@+=,-]$`)

// IsRoleARN says whether s can be the ARN of a role in AWS.
func IsRoleARN(s string) bool { return roleARN.MatchString(s) }

// shapeOfRole is the shape of the ARN of a role in any system: Ceph has roles without
// an account (arn:aws:iam:::role/S3Access) and accounts such as RGW12345678901234567,
// MinIO has a partition of its own (arn:minio:iam:::role/...).
var shapeOfRole = regexp.MustCompile(`^arn:[^:/"'\x00-\x20\x7f]+:iam:[^:/"'\x00-\x20\x7f]*:[^:/"'\x00-\x20\x7f]*:role/[^"'\x00-\x20\x7f]*[^/"'\x00-\x20\x7f]$`)

// IsRole reports whether s can be the ARN of a role for the STS at an endpoint. For
// AWS's, it must be one that IAM accepts. Nobody knows the rules of all other systems,
// so for their endpoints only the shape counts.
func IsRole(s, stsEndpoint string) bool {
	return IsRoleARN(s) || shapeOfRole.MatchString(s) && !IsAWSEndpoint(stsEndpoint)
}

// sessionName is what STS accepts as a role session name
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// IsSessionName says whether STS accepts s as a role session name.
func IsSessionName(s string) bool { return sessionName.MatchString(s) }

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
		return fmt.Errorf("%q is no account id of 12 digits, such as 111122223333", a.ID)
	}
	return nil
}

// roleARNFor returns the ARN of a role that is given by its name, or by its path
// and name. What holds "arn:" is an ARN already, as it is for AWS's webhook.
func (a *Account) roleARNFor(role string) string {
	if a == nil || role == "" || strings.Contains(role, "arn:") {
		return role
	}
	return "arn:" + a.Partition + ":iam::" + a.ID + ":role/" + strings.TrimPrefix(role, "/")
}
