package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsarn "github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// account is whose the credentials are that are used here.
type account struct{ id, arn string }

// callTimeoutAWS bounds a call with its retries, as callTimeout does.
const callTimeoutAWS = callTimeout

func checkAccount(ctx context.Context, x *checkState) Finding {
	if x.AWS == nil {
		return newFinding(Skipped, "not looked at: --no-aws was given")
	}
	got := x.known.caller.get(struct{}{}, func() readResult[account] {
		ctx, cancel := context.WithTimeout(ctx, callTimeoutAWS)
		defer cancel()
		answer, err := x.AWS.STS.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		if err != nil {
			return readResult[account]{err: err}
		}
		return readResult[account]{value: account{aws.ToString(answer.Account), aws.ToString(answer.Arn)}}
	})
	return evaluateAccount(x.identity.RoleARN, got.value, got.err)
}

// evaluateAccount says whether the credentials are of the role's account.
func evaluateAccount(role string, mine account, err error) Finding {
	parsed, parseErr := awsarn.Parse(role)
	// Ceph has partition aws, too, and accounts that are not AWS's.
	if parseErr != nil || !identity.IsRoleARN(role) {
		return newFinding(Skipped, "not looked at: the role is none of AWS's")
	}
	if err != nil {
		return newFinding(Unknown, "AWS does not say whose the credentials are that are used here").
			withReason("%s; give some by --profile or as AWS's command line takes them, or leave IAM out by --no-aws", awsErrorMessage(err))
	}
	if parsed.AccountID != mine.id {
		return newFinding(Unknown, "the role is in account %s, and the credentials that are used here are of account %s", parsed.AccountID, mine.id).
			withReason("if the annotation is correct, pass --profile with credentials of account %s; otherwise fix the annotation", parsed.AccountID).
			withEvidence("caller", mine.arn)
	}
	return newFinding(OK, "the role and the credentials that are used here are of account %s", mine.id).withEvidence("caller", mine.arn)
}

// provider is what IAM has of an OIDC provider, and what resembles it.
type provider struct {
	url       string
	audiences []string
	missing   bool
	// others are the URLs of the other providers, without scheme.
	others []string
}

func (d *Doctor) provider(ctx context.Context, arn string) (*provider, error) {
	got := d.known.providers.get(arn, func() readResult[*provider] {
		ctx, cancel := context.WithTimeout(ctx, callTimeoutAWS)
		defer cancel()
		answer, err := d.AWS.IAM.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(arn)})
		if _, missing := errors.AsType[*types.NoSuchEntityException](err); missing {
			return readResult[*provider]{value: &provider{missing: true, others: d.otherProviders(ctx)}}
		}
		if err != nil {
			return readResult[*provider]{err: err}
		}
		return readResult[*provider]{value: &provider{url: aws.ToString(answer.Url), audiences: answer.ClientIDList}}
	})
	return got.value, got.err
}

// otherProviders are for a hint alone: that they cannot be read does not matter.
func (d *Doctor) otherProviders(ctx context.Context) []string {
	answer, err := d.AWS.IAM.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil
	}
	var all []string
	for _, entry := range answer.OpenIDConnectProviderList {
		all = append(all, trustpolicy.IssuerOf(aws.ToString(entry.Arn)))
	}
	return all
}

// roleAccount returns the partition and the account of a role's ARN.
func roleAccount(role string) (partition, id string) {
	parsed, err := awsarn.Parse(role)
	if err != nil {
		return "", ""
	}
	return parsed.Partition, parsed.AccountID
}

func checkProvider(ctx context.Context, x *checkState) Finding {
	if x.claims.Issuer == "" {
		return newFinding(Unknown, "the cluster's issuer is not known, so its provider is not either")
	}
	partition, id := roleAccount(x.identity.RoleARN)
	arn, err := trustpolicy.ProviderARN(partition, id, x.claims.Issuer)
	if err != nil {
		return newFinding(Broken, "IAM can have no provider for the cluster: %v", err)
	}
	x.providerARN = arn
	got, err := x.provider(ctx, arn)
	if err != nil {
		return awsReadErrorFinding("iam:GetOpenIDConnectProvider", err)
	}
	return evaluateProvider(x.claims.Issuer, arn, got)
}

// evaluateProvider says whether IAM knows the issuer.
func evaluateProvider(issuerURL, arn string, got *provider) Finding {
	const create = irsaPlugin + " provider create --approve"
	if got.missing {
		finding := newFinding(Broken, "IAM has no OIDC provider for the cluster's issuer").
			withReason("tokens of %s are not trusted by anybody in the account", issuerURL).withFix("%s", create).withEvidence("wanted", arn)
		if misses := nearMisses(issuerURL, got.others); len(misses) > 0 {
			finding.Why = fmt.Sprintf("it has %s, which is not the same to the letter: the issuer is %s", strings.Join(misses, ", "), issuerURL)
		}
		return finding
	}
	if stripScheme(got.url) != stripScheme(issuerURL) {
		return newFinding(Broken, "the OIDC provider is for %q, and the cluster's issuer is %q", got.url, issuerURL).
			withReason("they have to be the same to the letter").withFix("%s", create).withEvidence("provider", arn)
	}
	if strings.HasSuffix(issuerURL, "/") {
		return newFinding(Warning, "IAM has the OIDC provider of the issuer, which ends in a slash").
			withReason("tokens say %q, and the provider cannot: AWS does not document whether it takes that for the same", issuerURL).withEvidence("provider", arn)
	}
	return newFinding(OK, "IAM has the OIDC provider of the issuer").withEvidence("provider", arn)
}

// stripScheme is a URL as IAM tells it, without the scheme.
func stripScheme(raw string) string {
	return strings.TrimSuffix(strings.TrimPrefix(raw, "https://"), "/")
}

// nearMisses returns those that differ in scheme, case, slashes, or by one part.
func nearMisses(issuerURL string, others []string) []string {
	fold := func(s string) string {
		s = strings.ToLower(s)
		for _, scheme := range []string{"https://", "http://"} {
			s = strings.TrimPrefix(s, scheme)
		}
		return strings.Trim(s, "/")
	}
	wanted := fold(issuerURL)
	host, _, _ := strings.Cut(wanted, "/")
	var misses []string
	for _, other := range others {
		otherHost, _, _ := strings.Cut(fold(other), "/")
		if fold(other) == wanted || otherHost == host {
			misses = append(misses, other)
		}
	}
	return misses
}

func checkProviderAudience(ctx context.Context, x *checkState) Finding {
	got, err := x.provider(ctx, x.providerARN)
	if err != nil {
		return awsReadErrorFinding("iam:GetOpenIDConnectProvider", err)
	}
	return evaluateProviderAudience(x.providerARN, x.identity.Audience, got.audiences)
}

func evaluateProviderAudience(arn, audience string, audiences []string) Finding {
	if slices.Contains(audiences, audience) {
		return newFinding(OK, "the provider accepts the audience %s", audience)
	}
	return newFinding(Broken, "the OIDC provider does not accept the audience %q", audience).
		withReason("it accepts %s", quoted(audiences)).
		withFix(irsaPlugin+" provider create --audience %s --approve", shell(audience)).withEvidence("provider", arn)
}

func quoted(values []string) string {
	if len(values) == 0 {
		return "none"
	}
	var all []string
	for _, v := range values {
		all = append(all, fmt.Sprintf("%q", v))
	}
	return strings.Join(all, ", ")
}

// role is what IAM has of a role.
type role struct {
	arn, trustPolicy string
	maxSeconds       int32
}

func checkRoleExists(ctx context.Context, x *checkState) Finding {
	ctx, cancel := context.WithTimeout(ctx, callTimeoutAWS)
	defer cancel()
	name := x.identity.RoleARN[strings.LastIndexByte(x.identity.RoleARN, '/')+1:]
	answer, err := x.AWS.IAM.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(name)})
	if _, missing := errors.AsType[*types.NoSuchEntityException](err); missing {
		return newFinding(Broken, "role %s does not exist in account %s", name, accountOf(x.identity.RoleARN)).
			withFix(irsaPlugin+" serviceaccount create %s -n %s --role-name %s%s --role-only --approve", x.serviceAccount, x.namespace, shell(name), x.roleFlags())
	}
	if err != nil {
		return awsReadErrorFinding("iam:GetRole", err)
	}
	x.role = role{aws.ToString(answer.Role.Arn), aws.ToString(answer.Role.AssumeRolePolicyDocument), aws.ToInt32(answer.Role.MaxSessionDuration)}
	return x.evaluateRole(x.role.arn)
}

// roleFlags are what makes the role the one that is named, and for the audience of
// the pods' tokens.
func (x *checkState) roleFlags() string {
	flags := ""
	_, path, _ := strings.Cut(x.identity.RoleARN, ":role")
	if path = path[:strings.LastIndexByte(path, '/')+1]; path != "" && path != "/" {
		flags += " --path " + shell(path)
	}
	if x.identity.Audience != trustpolicy.DefaultAudience {
		flags += " --audience " + shell(x.identity.Audience)
	}
	return flags
}

func accountOf(role string) string {
	_, id := roleAccount(role)
	return id
}

// evaluateRole says whether the role is the one that is named: IAM finds it by its
// name, and STS by its whole ARN.
func (x *checkState) evaluateRole(arn string) Finding {
	if arn != x.identity.RoleARN {
		return newFinding(Broken, "the role's ARN is %s, and the ServiceAccount names %s", arn, x.identity.RoleARN).
			withReason("the path of a role is a part of its ARN").
			withFix(kubectl+" annotate --overwrite serviceaccount %s -n %s %s=%s", x.serviceAccount, x.namespace, x.roleKey(), shell(arn))
	}
	return newFinding(OK, "role %s exists", arn)
}

// sessionName is the one that the pods' sessions have, as far as it is known.
func (x *checkState) sessionName() string {
	switch {
	case x.identity.SessionName == identity.SessionNamePod && x.pod != nil && identity.IsSessionName(x.pod.Name):
		return x.pod.Name
	case x.identity.SessionName != "" && x.identity.SessionName != identity.SessionNamePod:
		return x.identity.SessionName
	default:
		return "kubectl-irsa-doctor"
	}
}

func checkTrustPolicy(_ context.Context, x *checkState) Finding {
	if x.claims.Issuer == "" {
		return newFinding(Unknown, "the cluster's issuer is not known, so it is not either whether the trust policy is for it")
	}
	// IAM gives it encoded by RFC 3986 (API_GetRole).
	document, err := url.PathUnescape(x.role.trustPolicy)
	if err != nil {
		return newFinding(Unknown, "the trust policy cannot be decoded")
	}
	claims := x.claims
	if len(claims.Audience) == 0 {
		claims.Audience, claims.Subject = []string{x.identity.Audience}, token.Subject(x.namespace, x.serviceAccount)
	}
	return x.evaluateTrustPolicy([]byte(document), trustpolicy.ForToken(x.providerARN, claims, x.sessionName()))
}

// trustPolicyCommand writes the least trust policy. Who trusts more with the role
// puts its statement beside the others.
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

// replacesPolicyWarning is said wherever that command stands.
const replacesPolicyWarning = "the command replaces the whole trust policy: if others are to keep the role, add its statement to theirs"

func (x *checkState) evaluateTrustPolicy(document []byte, request trustpolicy.Request) Finding {
	roleName := x.identity.RoleARN[strings.LastIndexByte(x.identity.RoleARN, '/')+1:]
	subject := token.Subject(x.namespace, x.serviceAccount)
	mend := func(f Finding) Finding {
		return f.withFix(awsCLI+` iam update-assume-role-policy --role-name %s --policy-document "$(%s)"`, shell(roleName), x.trustPolicyCommand())
	}
	policy, err := trustpolicy.Parse(document)
	if err != nil {
		return mend(newFinding(Broken, "the trust policy is malformed").withReason("%v; %s", err, replacesPolicyWarning))
	}
	decision := policy.Evaluate(request)
	if decision.Allowed {
		if warnings := policy.Warnings(); len(warnings) > 0 {
			return mend(newFinding(Warning, "the trust policy allows %s, and more than it should", subject).
				withReason("%s; %s", strings.Join(warnings, "; "), replacesPolicyWarning))
		}
		return newFinding(OK, "the trust policy allows %s, for %s", subject, x.identity.Audience)
	}
	return mend(newFinding(Broken, "the trust policy does not allow %s, for %s", subject, x.identity.Audience).
		withReason("%s; %s", strings.Join(decision.Explain(), "; "), replacesPolicyWarning))
}
