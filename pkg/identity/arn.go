package identity

import (
	"fmt"
	"regexp"
	"strings"
)

// roleARN matches the ARNs of roles that IAM accepts, in any partition. See the page
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
// in the AWS documentation.
var roleARN = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w/.@+=,-]*[\w.@+=,-]$`)

// IsRoleARN reports whether s is a valid ARN of a role in AWS.
func IsRoleARN(s string) bool { return roleARN.MatchString(s) }

// anyRoleARN matches the ARNs of roles in any system. Ceph has roles without an account
// (arn:aws:iam:::role/S3Access) and accounts such as RGW12345678901234567. MinIO has its own
// partition (arn:minio:iam:::role/...).
var anyRoleARN = regexp.MustCompile(`^arn:[^:/"'\x00-\x20\x7f]+:iam:[^:/"'\x00-\x20\x7f]*:[^:/"'\x00-\x20\x7f]*:role/[^"'\x00-\x20\x7f]*[^/"'\x00-\x20\x7f]$`)

// IsRole reports whether s is a valid ARN of a role for the STS at an endpoint. For endpoints of
// AWS, IAM must accept it. For endpoints of other systems it must only have the form of an ARN
// of a role, because their rules differ.
func IsRole(s, stsEndpoint string) bool {
	return IsRoleARN(s) || anyRoleARN.MatchString(s) && !IsAWSEndpoint(stsEndpoint)
}

// sessionName matches the role session names that STS accepts
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// IsSessionName reports whether STS accepts s as a role session name.
func IsSessionName(s string) bool { return sessionName.MatchString(s) }

// Account is the AWS account of bare role names.
type Account struct {
	// Partition is, for example, "aws" or "aws-cn". ID has 12 digits.
	Partition, ID string
}

var (
	partition = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountID = regexp.MustCompile(`^\d{12}$`)
)

// Validate returns an error if the partition or the ID is invalid.
func (a *Account) Validate() error {
	if !partition.MatchString(a.Partition) {
		return fmt.Errorf("%q is not a partition such as aws or aws-cn", a.Partition)
	}
	if !accountID.MatchString(a.ID) {
		return fmt.Errorf("%q is not an account ID of 12 digits, such as 111122223333", a.ID)
	}
	return nil
}

// roleARNFor composes the ARN of a role from its name, or from its path and name. It returns
// role unchanged if a is nil or if role contains "arn:", as AWS's webhook does.
func (a *Account) roleARNFor(role string) string {
	if a == nil || role == "" || strings.Contains(role, "arn:") {
		return role
	}
	return "arn:" + a.Partition + ":iam::" + a.ID + ":role/" + strings.TrimPrefix(role, "/")
}
