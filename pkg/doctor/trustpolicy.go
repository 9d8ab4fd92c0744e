package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
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
	return x.evaluateTrustPolicy([]byte(document), trustpolicy.ForToken(x.providerARN, claims, x.podSessionName()).At(x.now()))
}

// addStatementCommand returns the command that reads a trust policy from standard input, and
// prints it with one more statement for the ServiceAccount.
func (x *checkState) addStatementCommand() string {
	partition, id := roleAccount(x.identity.RoleARN)
	command := fmt.Sprintf(irsaPlugin+" trust-policy %s/%s --issuer %s --account-id %s", x.namespace, x.serviceAccount, shell(x.claims.Issuer), shell(id))
	if partition != "aws" {
		command += " --partition " + shell(partition)
	}
	if x.identity.Audience != trustpolicy.DefaultAudience {
		command += " --audience " + shell(x.identity.Audience)
	}
	return command + " --add-to -"
}

// evaluateTrustPolicy evaluates the trust policy of the role. Its only fix adds a statement,
// because other statements may be in use.
func (x *checkState) evaluateTrustPolicy(document []byte, request trustpolicy.Request) Finding {
	roleName := x.identity.RoleARN[strings.LastIndexByte(x.identity.RoleARN, '/')+1:]
	subject := token.Subject(x.namespace, x.serviceAccount)
	policy, err := trustpolicy.Parse(document)
	if err != nil {
		return newFinding(Unknown, "cannot evaluate the trust policy of role %s", roleName).withReason("%v", err)
	}
	decision := policy.Evaluate(request)
	reasons := strings.Join(decision.Explain(), "; ")
	switch {
	case decision.Allowed:
		finding := newFinding(OK, "the trust policy of role %s allows %s with audience %s", roleName, subject, x.identity.Audience)
		if warnings := policy.Broad(); len(warnings) > 0 {
			finding = newFinding(Warning, "the trust policy of role %s allows more than %s", roleName, subject).
				withReason("%s", strings.Join(warnings, "; "))
		}
		return finding
	case decision.Unknown:
		return newFinding(Unknown, "whether the trust policy of role %s allows %s depends on %s of the call to STS", roleName, subject, strings.Join(decision.UnknownKeys(), ", ")).
			withReason("%s", reasons)
	case decision.ExplicitDeny:
		return newFinding(Broken, "the trust policy of role %s denies %s with audience %s", roleName, subject, x.identity.Audience).
			withReason("%s; if the ServiceAccount may use the role, change the condition of that statement", reasons)
	}
	finding := newFinding(Broken, "the trust policy of role %s does not allow %s with audience %s", roleName, subject, x.identity.Audience)
	if merged, _, err := trustpolicy.Add(document, trustpolicy.Grant{
		Provider: request.Provider, Audience: x.identity.Audience,
		Subjects: []trustpolicy.Subject{{Namespace: x.namespace, ServiceAccount: x.serviceAccount}},
	}); err != nil {
		return finding.withReason("%s; %v", reasons, err)
	} else if length := merged.Length(); length > trustpolicy.DefaultMaxLength {
		reasons += fmt.Sprintf("; with one more statement, the policy has %d characters, and the default limit of IAM is %d", length, trustpolicy.DefaultMaxLength)
	}
	read := fmt.Sprintf(awsCLI+" iam get-role --role-name %s --query Role.AssumeRolePolicyDocument --output json", shell(roleName))
	return finding.withReason("%s; the fix keeps all statements and adds one", reasons).
		withFix(awsCLI+` iam update-assume-role-policy --role-name %s --policy-document "$(%s | %s)"`, shell(roleName), read, x.addStatementCommand())
}

// overruleTrustPolicy returns the findings with a trust policy that is ok if STS accepted a
// token. Its decision has facts that doctor does not have.
func overruleTrustPolicy(findings []Finding) []Finding {
	accepted := slices.ContainsFunc(findings, func(f Finding) bool { return f.Check == STSExchange && f.Status == OK })
	for i, f := range findings {
		if accepted && f.Check == TrustPolicy && (f.Status == Unknown || f.Status == Broken) {
			findings[i].Status, findings[i].Fix = OK, ""
			findings[i].Summary = "STS accepted a token for the role, called from here"
			findings[i].Why = f.Summary + "; " + f.Why
		}
	}
	return findings
}
