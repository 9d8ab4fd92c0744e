// Package identity defines the AWS identity of a ServiceAccount, and derives it from
// annotations or from a mapping. It has no I/O: the packages below it fetch the data.
package identity

import "errors"

// SessionNamePod is the role session name that is replaced by the name of the pod.
const SessionNamePod = "pod-name"

// Method is how a pod exchanges its token for credentials. The values are those in the metrics
// of AWS's webhook.
type Method string

const (
	// WebIdentity exchanges the token with AssumeRoleWithWebIdentity of STS.
	WebIdentity Method = "sts_web_identity"
	// ContainerCredentials exchanges the token with an agent on the node (EKS Pod
	// Identity), which determines the role.
	ContainerCredentials Method = "container_credentials"
)

// ErrServiceAccountNotFound is the error for a ServiceAccount that does not exist, and so has
// no identity.
var ErrServiceAccountNotFound = errors.New("the ServiceAccount does not exist")

// Identity is the identity that the webhook injects into the pods of a ServiceAccount. It is
// immutable, so that requests can share it.
type Identity struct {
	Method Method
	// RoleARN is the value in the source, even if it is not a valid ARN. It is empty for
	// ContainerCredentials, and for a ServiceAccount without a role.
	RoleARN string
	// Audience is never empty. With an empty audience, the kubelet would request a token for
	// the API server. The SDK would then send that token to STS.
	Audience string
	// RegionalSTS makes the SDK use the STS endpoint of its region.
	RegionalSTS bool
	// ExpirationSeconds is from token.MinExpirationSeconds to token.MaxExpirationSeconds.
	ExpirationSeconds int64
	// SessionName is a session name or SessionNamePod. If it is empty, the SDK chooses one.
	SessionName string
	// STSEndpoint is the URL of the STS, or empty for the STS of AWS.
	STSEndpoint string
	// TargetRoleARN, if not empty, is a role that is assumed with the credentials of RoleARN.
	// TargetExternalID is the external ID for that call.
	TargetRoleARN, TargetExternalID string
	// Problems are the warnings for the user about invalid values in the source.
	Problems []AnnotationWarning
	// FromCache reports whether the identity is from the cache of a watch, and not from a
	// read for this admission request.
	FromCache bool
}

// IsSet reports whether there is an identity to inject.
func (id *Identity) IsSet() bool { return id.RoleARN != "" || id.Method == ContainerCredentials }

// Defaults are the values for settings that the source does not specify. Audience must not be
// empty. ExpirationSeconds must be within the limits of package token.
type Defaults struct {
	// AnnotationPrefix is the prefix of all annotations, such as "eks.amazonaws.com".
	AnnotationPrefix  string
	Audience          string
	RegionalSTS       bool
	ExpirationSeconds int64
	SessionName       string
	STSEndpoint       string
	// Account is used to compose ARNs of bare role names. If it is nil, they stay unchanged.
	Account *Account
}
