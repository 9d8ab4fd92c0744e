package lint

import (
	"regexp"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

const exampleRole = "arn:aws:iam::111122223333:role/NAME"

// maxRoleName is IAM's
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
const maxRoleName = 64

// role finds what keeps a value from being a role, the most telling fault if
// there are several. The texts are of less than 30 letters, so that the example
// is not cut from the warning.
func (r Rules) role(value string) problem {
	switch {
	case identity.IsRoleARN(value):
		if len(value)-strings.LastIndexByte(value, '/')-1 > maxRoleName {
			return invalidARN("has a name of over 64 letters")
		}
		return problem{}
	case identity.IsRole(value, r.STSEndpoint):
		return problem{}
	case value == "":
		return suspicious("is empty: it gives no role")
	case strings.TrimSpace(value) != value:
		return invalidARN("has spaces around it")
	case strings.ContainsAny(value, `"'`):
		return invalidARN("has quotes in it")
	case strings.ContainsAny(value, " \t\r\n"):
		return invalidARN("has spaces in it")
	case strings.HasPrefix(value, "arn:"):
		return arn(value, identity.IsAWSEndpoint(r.STSEndpoint))
	case strings.Contains(value, "arn:"):
		return invalidARN("does not begin with arn:")
	case r.Composes:
		return bareRole(value)
	default:
		return invalidARN("is no ARN")
	}
}

func invalidARN(text string) problem { return invalid(text + ", want " + exampleRole) }

// bareRole finds faults in a name, or a path and name, that is made an ARN.
func bareRole(value string) problem {
	const anyAccount = "arn:aws:iam::111122223333:role/"
	switch {
	case !identity.IsRoleARN(anyAccount + strings.TrimPrefix(value, "/")):
		return invalidARN("cannot be a role's name")
	case strings.HasPrefix(strings.TrimPrefix(value, "/"), "role/"):
		return suspicious("has role/ before the name, which is added to it once more")
	default:
		return problem{}
	}
}

// accountIDs are those of AWS
// (https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-identifiers.html).
var accountIDs = regexp.MustCompile(`^\d{12}$`)

// otherResources are those of IAM that are taken for roles
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
var otherResources = map[string]string{
	"user": "is a user's ARN", "group": "is a group's ARN", "policy": "is a policy's ARN",
	"instance-profile": "is an instance profile's ARN", "oidc-provider": "is an OIDC provider's ARN",
}

// arn finds faults in an ARN that is not a role's: arn:aws:iam::account:role/name. Where
// the STS is not AWS's, partition, region and account can be of any kind.
func arn(value string, aws bool) problem {
	const parts = 6
	part := strings.SplitN(value, ":", parts)
	if aws && !strings.HasPrefix(part[1], "aws") {
		// The roles of stores with an STS of their own have ARNs of their own.
		return suspicious("is no role of AWS, whose are " + exampleRole)
	}
	if len(part) < parts {
		return invalidARN("is not a whole ARN")
	}
	service, region, account, resource := part[2], part[3], part[4], part[5]
	kind, name, slash := strings.Cut(resource, "/")
	switch {
	case service == "sts":
		return invalidARN("is a session's ARN")
	case service != "iam":
		return invalidARN("is no ARN of IAM")
	case aws && region != "":
		return invalidARN("has a region, IAM has none")
	case slash && otherResources[kind] != "":
		return invalidARN(otherResources[kind])
	case aws && !accountIDs.MatchString(account):
		return invalidARN("has no 12-digit account id")
	case !slash || kind != "role":
		return invalidARN("has no role/ before the name")
	case name == "" || strings.HasSuffix(name, "/"):
		return invalidARN("ends in a slash, not a name")
	default:
		return invalidARN("has a letter no role has")
	}
}
