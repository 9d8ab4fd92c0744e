package doctor

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

func checkTrustPolicy(_ context.Context, x *checkState) Finding {
	if x.claims.Issuer == "" {
		return newFinding(Unknown, "cannot evaluate the trust policy: the cluster's issuer is unknown")
	}
	// IAM returns the document percent-encoded as in RFC 3986 (API_GetRole).
	document, err := url.PathUnescape(x.role.trustPolicy)
	if err != nil {
		return newFinding(Unknown, "cannot decode the trust policy of role %s", x.role.arn)
	}
	claims := x.claims
	if len(claims.Audience) == 0 {
		claims.Audience, claims.Subject = []string{x.identity.Audience}, token.Subject(x.namespace, x.serviceAccount)
	}
	return x.evaluateTrustPolicy([]byte(document), trustpolicy.ForToken(x.providerARN, claims, x.sessionName()))
}

// trustPolicyCommand returns the command that prints the smallest trust policy for the
// ServiceAccount. If other principals use the role, the user must merge the statements.
func (x *checkState) trustPolicyCommand() string {
	partition, id := roleAccount(x.identity.RoleARN)
	command := fmt.Sprintf(irsaPlugin+" trust-policy %s/%s --issuer %s --account-id %s", x.namespace, x.serviceAccount, shell(x.claims.Issuer), shell(id))
	if partition != "aws" {
		command += " --partition " + shell(partition)
	}
	if x.identity.Audience != trustpolicy.DefaultAudience {
		command += " --audience " + shell(x.identity.Audience)
	}
	return command
}

// replacesPolicyWarning is part of each finding with that command.
const replacesPolicyWarning = "the fix replaces the entire trust policy; to keep other principals, add only its statement"

func (x *checkState) evaluateTrustPolicy(document []byte, request trustpolicy.Request) Finding {
	roleName := x.identity.RoleARN[strings.LastIndexByte(x.identity.RoleARN, '/')+1:]
	subject := token.Subject(x.namespace, x.serviceAccount)
	withPolicyFix := func(f Finding) Finding {
		return f.withFix(awsCLI+` iam update-assume-role-policy --role-name %s --policy-document "$(%s)"`, shell(roleName), x.trustPolicyCommand())
	}
	policy, err := trustpolicy.Parse(document)
	if err != nil {
		return withPolicyFix(newFinding(Broken, "the trust policy of role %s is invalid", roleName).withReason("%v; %s", err, replacesPolicyWarning))
	}
	decision := policy.Evaluate(request)
	if decision.Allowed {
		if warnings := policy.Warnings(); len(warnings) > 0 {
			return withPolicyFix(newFinding(Warning, "the trust policy of role %s allows more than %s", roleName, subject).
				withReason("%s; %s", strings.Join(warnings, "; "), replacesPolicyWarning))
		}
		return newFinding(OK, "the trust policy of role %s allows %s with audience %s", roleName, subject, x.identity.Audience)
	}
	return withPolicyFix(newFinding(Broken, "the trust policy of role %s does not allow %s with audience %s", roleName, subject, x.identity.Audience).
		withReason("%s; %s", strings.Join(decision.Explain(), "; "), replacesPolicyWarning))
}
