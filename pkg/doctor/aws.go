package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsarn "github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// account is the AWS account and the ARN of the caller's credentials.
type account struct{ id, arn string }

// callTimeoutAWS is the timeout of one call to AWS, including its retries.
const callTimeoutAWS = callTimeout

func checkAccount(ctx context.Context, x *checkState) Finding {
	if x.AWS == nil {
		return newFinding(Skipped, "skipped because of --no-aws")
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

// evaluateAccount checks whether the credentials are of the account of the role.
func evaluateAccount(role string, caller account, err error) Finding {
	parsed, parseErr := awsarn.Parse(role)
	// Role ARNs of Ceph also have the partition aws, but other account IDs.
	if parseErr != nil || !identity.IsRoleARN(role) {
		return newFinding(Skipped, "skipped: %q is not the ARN of a role in AWS", role)
	}
	if err != nil {
		return newFinding(Unknown, "cannot determine the account of your AWS credentials").
			withReason("%s; pass credentials with --profile or as for the AWS CLI, or skip IAM with --no-aws", awsErrorMessage(err))
	}
	if parsed.AccountID != caller.id {
		return newFinding(Unknown, "the role is in account %s, but your AWS credentials are of account %s", parsed.AccountID, caller.id).
			withReason("if the annotation is correct, pass --profile with credentials of account %s; otherwise fix the annotation", parsed.AccountID).
			withEvidence("caller", caller.arn)
	}
	return newFinding(OK, "the role and your AWS credentials are of account %s", caller.id).withEvidence("caller", caller.arn)
}

// provider is an OIDC provider in IAM.
type provider struct {
	url       string
	audiences []string
	missing   bool
	// others are the URLs without scheme of all providers in the account. It is set only
	// if the provider is missing.
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

// otherProviders returns the URLs of all providers, or nil if it cannot list them: they
// are only used for a hint.
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
		return newFinding(Unknown, "cannot check the OIDC provider: the cluster's issuer is unknown")
	}
	partition, id := roleAccount(x.identity.RoleARN)
	arn, err := trustpolicy.ProviderARN(partition, id, x.claims.Issuer)
	if err != nil {
		return newFinding(Broken, "IAM cannot have an OIDC provider for the cluster's issuer: %v", err)
	}
	x.providerARN = arn
	got, err := x.provider(ctx, arn)
	if err != nil {
		return awsReadErrorFinding("iam:GetOpenIDConnectProvider", err)
	}
	return evaluateProvider(x.claims.Issuer, arn, got)
}

// evaluateProvider checks whether IAM has an OIDC provider for the issuer.
func evaluateProvider(issuerURL, arn string, got *provider) Finding {
	const create = irsaPlugin + " provider create --approve"
	if got.missing {
		finding := newFinding(Broken, "IAM has no OIDC provider for issuer %s", issuerURL).
			withReason("no role of the account can trust tokens of this issuer; create the provider").withFix("%s", create).withEvidence("wanted", arn)
		if misses := similarURLs(issuerURL, got.others); len(misses) > 0 {
			finding.Why = fmt.Sprintf("IAM has the similar %s, but the URLs must match exactly", strings.Join(misses, ", "))
		}
		return finding
	}
	if stripScheme(got.url) != stripScheme(issuerURL) {
		return newFinding(Broken, "the OIDC provider has URL %q, but the cluster's issuer is %q", got.url, issuerURL).
			withReason("the URLs must match exactly").withFix("%s", create).withEvidence("provider", arn)
	}
	if strings.HasSuffix(issuerURL, "/") {
		return newFinding(Warning, "the OIDC provider exists, but issuer %q ends in a slash", issuerURL).
			withReason("tokens contain the slash, but the URL of a provider cannot; AWS does not document whether they match").withEvidence("provider", arn)
	}
	return newFinding(OK, "IAM has an OIDC provider for issuer %s", issuerURL).withEvidence("provider", arn)
}

// stripScheme returns a URL in the form that IAM returns: without scheme and trailing slash.
func stripScheme(raw string) string {
	return strings.TrimSuffix(strings.TrimPrefix(raw, "https://"), "/")
}

// similarURLs returns the URLs that differ from issuerURL only in scheme, case or slashes,
// or that have the same host.
func similarURLs(issuerURL string, others []string) []string {
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
		return newFinding(OK, "the OIDC provider accepts audience %s", audience)
	}
	return newFinding(Broken, "the OIDC provider does not accept audience %q", audience).
		withReason("the provider accepts %s", quoted(audiences)).
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

// role is a role in IAM.
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

// roleFlags returns the flags for the path of the role and the audience of the pods'
// tokens. They are flags of kubectl irsa serviceaccount create.
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

// evaluateRole checks whether the ARN of the role matches that of the ServiceAccount. IAM
// finds a role by its name, but STS needs the full ARN with the path.
func (x *checkState) evaluateRole(arn string) Finding {
	if arn != x.identity.RoleARN {
		return newFinding(Broken, "the role has ARN %s, but the ServiceAccount has %s", arn, x.identity.RoleARN).
			withReason("the path of a role is part of its ARN").
			withFix(kubectl+" annotate --overwrite serviceaccount %s -n %s %s=%s", x.serviceAccount, x.namespace, x.roleKey(), shell(arn))
	}
	return newFinding(OK, "role %s exists", arn)
}

// podSessionName returns the session name of the pod's calls, or "" if the SDK chooses it.
func (x *checkState) podSessionName() string {
	switch {
	case x.identity.SessionName == identity.SessionNamePod && x.pod != nil && identity.IsSessionName(x.pod.Name):
		return x.pod.Name
	case x.identity.SessionName != identity.SessionNamePod:
		return x.identity.SessionName
	default:
		return ""
	}
}

// sessionName returns the session name that the pods use, or a name of doctor if the
// webhook does not set one. A trust policy can depend on it.
func (x *checkState) sessionName() string { return cmp.Or(x.podSessionName(), "kubectl-irsa-doctor") }
