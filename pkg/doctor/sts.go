package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
)

// exchangeTimeout is the timeout of the exchange, including its retries.
const exchangeTimeout = 30 * time.Second

func checkExchange(ctx context.Context, x *checkState) Finding {
	switch {
	case x.Exchange == nil:
		return newFinding(Skipped, "skipped because of --no-exchange")
	case x.raw == "":
		return newFinding(Unknown, "cannot call STS without a token")
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	result, err := x.Exchange(ctx, x.identity.STSEndpoint, x.region(), exchange.Input{
		RoleARN: x.identity.RoleARN, SessionName: x.sessionName(), Token: x.raw, Duration: 15 * time.Minute,
	})
	return x.evaluateExchange(result, err)
}

// region returns the region in the environment of the pod, or else that of the webhook.
func (x *checkState) region() string {
	if x.pod != nil {
		for _, c := range x.pod.Spec.Containers {
			if region, set := valueOf(&c, envRegion); set && region != "" {
				return region
			}
		}
	}
	return x.settings.inject.Region
}

// evaluateExchange evaluates the response of STS. It discards the credentials.
func (x *checkState) evaluateExchange(result exchange.Result, err error) Finding {
	if target := x.identity.TargetRoleARN; err == nil && target != "" {
		return newFinding(Unknown, "STS returned credentials of the first role; assuming %s was not tried", target).
			withReason("the trust policy of that role must allow sts:AssumeRole to %s, and the policies of the first role must allow it too", x.identity.RoleARN).
			withEvidence("assumed role", result.AssumedRoleARN).withEvidence("provider", result.Provider)
	}
	if err == nil {
		return newFinding(OK, "STS returned credentials for a token of ServiceAccount %s/%s", x.namespace, x.serviceAccount).withEvidence("assumed role", result.AssumedRoleARN).withEvidence("provider", result.Provider)
	}
	refused, ok := errors.AsType[*exchange.Error](err)
	if !ok {
		return newFinding(Unknown, "could not call STS: %v", err)
	}
	if refused.Reason == exchange.Unreachable {
		return newFinding(Unknown, "STS is not reachable from here").withReason("%v; the pods may still reach it", refused.Err).withEvidence("endpoint", x.identity.STSEndpoint)
	}
	finding := newFinding(Broken, "STS returned no credentials: %s: %s", refused.Code, refused.Message).withEvidence("request id", refused.RequestID)
	for _, cause := range []Code{AnnotationsValid, TokenRequested, IssuerDiscovery, IssuerKeys, TokenClaims, OIDCProvider, ProviderAudience, RoleExists, TrustPolicy} {
		if x.status[cause] == Broken {
			return finding.withReason("see check %s", cause)
		}
	}
	return finding.withReason("%s", refused.Hint()).withFix("%s", x.fixOf(refused.Reason))
}

// fixOf returns the command that fixes an error of STS, or "".
func (x *checkState) fixOf(reason exchange.Reason) string {
	switch reason {
	case exchange.InvalidIdentityToken:
		return irsaPlugin + " provider create --approve"
	case exchange.RegionDisabled:
		return "aws account enable-region --region-name " + shell(x.region())
	default:
		return ""
	}
}
