package trustpolicy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// DefaultAudience is the audience of a token that AWS's SDKs and EKS expect.
const DefaultAudience = "sts.amazonaws.com"

// Grant allows ServiceAccounts of a cluster to assume a role.
type Grant struct {
	// Provider is the ARN of the cluster's OIDC provider.
	Provider string
	// Audience is the audience of the tokens; DefaultAudience if empty.
	Audience string
	Subjects []Subject
}

// Subject is a ServiceAccount. With the wildcards * and ? it matches several.
type Subject struct{ Namespace, ServiceAccount string }

func (s Subject) value() string { return token.Subject(s.Namespace, s.ServiceAccount) }

// The maximum length of a trust policy in characters that are not white space
// (reference_iam-quotas, "Role trust policy length"). DefaultMaxLength is the default quota
// of an account, and MaxLength is the highest quota that it can request.
const (
	DefaultMaxLength = 2048
	MaxLength        = 4096
)

// validName matches the names that a namespace or a ServiceAccount can have (RFC 1123),
// with wildcards.
var validName = regexp.MustCompile(`^[a-z0-9*?]([a-z0-9.*?-]*[a-z0-9*?])?$`)

// New returns the trust policy that allows only the grants, with one statement for each.
// Several grants let ServiceAccounts of several clusters share a role. It returns an error
// if there is no grant, a grant is invalid, or the policy is longer than MaxLength.
func New(grants ...Grant) (Document, error) {
	if len(grants) == 0 {
		return Document{}, errors.New("create trust policy: no ServiceAccount to allow")
	}
	written := Document{version: version2012}
	for _, grant := range grants {
		allowed, err := grant.statement()
		if err != nil {
			return Document{}, fmt.Errorf("create trust policy: %w", err)
		}
		written.statements = append(written.statements, allowed)
	}
	if length := written.Length(); length > MaxLength {
		return Document{}, fmt.Errorf("create trust policy: %d characters exceed the limit of IAM, which is %d, or %d if you raise the quota; "+
			"use wildcards, or one role for each ServiceAccount", length, DefaultMaxLength, MaxLength)
	}
	return written, nil
}

func (g Grant) statement() (statement, error) {
	if !providers.MatchString(g.Provider) {
		return statement{}, fmt.Errorf("provider %q is not an ARN of the form arn:aws:iam::111122223333:oidc-provider/oidc.example.com, without https://", g.Provider)
	}
	if len(g.Subjects) == 0 {
		return statement{}, errors.New("no ServiceAccount")
	}
	operatorName := opEquals
	var subjects []string
	for _, subject := range g.Subjects {
		for kind, name := range map[string]string{"namespace": subject.Namespace, "ServiceAccount": subject.ServiceAccount} {
			if !validName.MatchString(name) {
				return statement{}, fmt.Errorf("invalid %s name %q", kind, name)
			}
		}
		value := subject.value()
		if hasWildcard(value) {
			operatorName = opLike // for all subjects: two operators must both be true
		}
		if !slices.Contains(subjects, value) {
			subjects = append(subjects, value)
		}
	}
	issuer := IssuerOf(g.Provider)
	return statement{
		effect:     effectAllow,
		principals: []principal{{federated, []string{g.Provider}}},
		actions:    []string{Action},
		conditions: []condition{
			{operator{base: opEquals}, issuer + ":aud", []string{cmp.Or(g.Audience, DefaultAudience)}},
			{operator{base: operatorName}, issuer + ":sub", subjects},
		},
	}, nil
}
