package lint

import (
	"regexp"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

const exampleRole = "arn:aws:iam::111122223333:role/NAME"

// maxRoleName is the maximum length of a role name in IAM
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
const maxRoleName = 64

// role returns the problem of a value that is not a valid role. If there are several, it returns
// the most helpful one. The texts have less than 30 characters, so that the example is not cut
// off from the warning.
func (r Rules) role(value string) problem {
	switch {
	case identity.IsRoleARN(value):
		if len(value)-strings.LastIndexByte(value, '/')-1 > maxRoleName {
			return invalidARN("has a name over 64 characters")
		}
		return problem{}
	case identity.IsRole(value, r.STSEndpoint):
		return problem{}
	case value == "":
		return suspicious("is empty: no role is injected")
	case strings.TrimSpace(value) != value:
		return invalidARN("has spaces around it")
	case strings.ContainsAny(value, `"'`):
		return invalidARN("has quotes in it")
	case strings.ContainsAny(value, " \t\r\n"):
		return invalidARN("has spaces in it")
	case strings.HasPrefix(value, "arn:"):
		return arn(value, identity.IsAWSEndpoint(r.STSEndpoint))
	case strings.Contains(value, "arn:"):
		return invalidARN("does not start with arn:")
	case r.Composes:
		return bareRole(value)
	default:
		return invalidARN("is not an ARN")
	}
}

// invalidARN returns a problem with an example of a valid ARN.
func invalidARN(text string) problem { return invalid(text + ", want " + exampleRole) }

// bareRole returns the problem of a name, or a path and name, of which the webhook composes an
// ARN.
func bareRole(value string) problem {
	const anyAccount = "arn:aws:iam::111122223333:role/"
	switch {
	case !identity.IsRoleARN(anyAccount + strings.TrimPrefix(value, "/")):
		return invalidARN("is not a valid role name")
	case strings.HasPrefix(strings.TrimPrefix(value, "/"), "role/"):
		return suspicious("has role/ before the name, which the webhook adds again")
	default:
		return problem{}
	}
}

// accountIDs matches account IDs of AWS. See the page
// https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-identifiers.html
// in the AWS documentation.
var accountIDs = regexp.MustCompile(`^\d{12}$`)

// otherResources are resources of IAM that users confuse with roles. See the page
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html
// in the AWS documentation.
var otherResources = map[string]string{
	"user": "is a user's ARN", "group": "is a group's ARN", "policy": "is a policy's ARN",
	"instance-profile": "is an instance profile's ARN", "oidc-provider": "is an OIDC provider's ARN",
}

// arn returns the problem of an ARN that is not an ARN of a role, arn:aws:iam::account:role/name.
// If the STS is not an STS of AWS, the partition, region and account are not checked.
func arn(value string, aws bool) problem {
	const parts = 6
	part := strings.SplitN(value, ":", parts)
	if aws && !strings.HasPrefix(part[1], "aws") {
		// Object stores with their own STS have other ARNs.
		return suspicious("is not a role of AWS such as " + exampleRole)
	}
	if len(part) < parts {
		return invalidARN("is an incomplete ARN")
	}
	service, region, account, resource := part[2], part[3], part[4], part[5]
	kind, name, slash := strings.Cut(resource, "/")
	switch {
	case service == "sts":
		return invalidARN("is a session's ARN")
	case service != "iam":
		return invalidARN("is not an ARN of IAM")
	case aws && region != "":
		return invalidARN("has a region (must be empty)")
	case slash && otherResources[kind] != "":
		return invalidARN(otherResources[kind])
	case aws && !accountIDs.MatchString(account):
		return invalidARN("has no 12-digit account ID")
	case !slash || kind != "role":
		return invalidARN("has no role/ before the name")
	case name == "" || strings.HasSuffix(name, "/"):
		return invalidARN("ends in a slash, not a name")
	default:
		return invalidARN("has an invalid character")
	}
}
