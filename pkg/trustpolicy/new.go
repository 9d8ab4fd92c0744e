package trustpolicy

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// DefaultAudience is what AWS's SDKs and EKS expect a token to be for.
const DefaultAudience = "sts.amazonaws.com"

// Grant lets ServiceAccounts of a cluster assume a role.
type Grant struct {
	// Provider is the ARN of the cluster's OIDC provider.
	Provider string
	// Audience is the tokens'; DefaultAudience if empty.
	Audience string
	Subjects []Subject
}

// Subject is a ServiceAccount, or several if it has wildcards, * and ?.
type Subject struct{ Namespace, ServiceAccount string }

func (s Subject) value() string { return token.Subject(s.Namespace, s.ServiceAccount) }

// The limits of a trust policy in characters that are not white space
// (reference_iam-quotas, "Role trust policy length"): what an account has, and
// what it can ask for.
const (
	DefaultMaxLength = 2048
	MaxLength        = 4096
)

// matchesPrincipal are those that a namespace or a ServiceAccount can have (RFC 1123), with
// wildcards.
var matchesPrincipal = regexp.MustCompile(`^[a-z0-9*?]([a-z0-9.*?-]*[a-z0-9*?])?$`)

// New writes the least trust policy for some grants, which is one statement for
// each: several if ServiceAccounts of several clusters share a role.
func New(grants ...Grant) (Document, error) {
	if len(grants) == 0 {
		return Document{}, errors.New("write a trust policy: it is to allow nothing")
	}
	written := Document{version: version2012}
	for _, grant := range grants {
		allowed, err := grant.statement()
		if err != nil {
			return Document{}, fmt.Errorf("write a trust policy: %w", err)
		}
		written.statements = append(written.statements, allowed)
	}
	if length := written.Length(); length > MaxLength {
		return Document{}, fmt.Errorf("write a trust policy: it would have %d characters, and IAM takes %d, or %d once that quota is raised: "+
			"use wildcards, or a role for each", length, DefaultMaxLength, MaxLength)
	}
	return written, nil
}

func (g Grant) statement() (statement, error) {
	if !providers.MatchString(g.Provider) {
		return statement{}, fmt.Errorf("provider %q is no ARN such as arn:aws:iam::111122223333:oidc-provider/oidc.example.com, without https://", g.Provider)
	}
	if len(g.Subjects) == 0 {
		return statement{}, errors.New("no ServiceAccount is named")
	}
	how := opEquals
	var subjects []string
	for _, subject := range g.Subjects {
		for what, name := range map[string]string{"namespace": subject.Namespace, "ServiceAccount": subject.ServiceAccount} {
			if !matchesPrincipal.MatchString(name) {
				return statement{}, fmt.Errorf("%q is no name of a %s", name, what)
			}
		}
		value := subject.value()
		if hasWildcard(value) {
			how = opLike // of all: two operators would both have to hold
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
			{operator{base: how}, issuer + ":sub", subjects},
		},
	}, nil
}
