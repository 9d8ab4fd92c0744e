package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
)

// exchangeTimeout bounds the exchange with its retries.
const exchangeTimeout = 30 * time.Second

func checkExchange(ctx context.Context, x *checkState) Finding {
	switch {
	case x.Exchange == nil:
		return newFinding(Skipped, "not tried: --no-exchange was given")
	case x.raw == "":
		return newFinding(Unknown, "without a token STS cannot be tried")
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	result, err := x.Exchange(ctx, x.identity.STSEndpoint, x.region(), exchange.Input{
		RoleARN: x.identity.RoleARN, SessionName: x.sessionName(), Token: x.raw, Duration: 15 * time.Minute,
	})
	return x.evaluateExchange(result, err)
}

// region is the one that the pod is told, if there is one.
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

// evaluateExchange says what STS gave. The credentials are dropped.
func (x *checkState) evaluateExchange(result exchange.Result, err error) Finding {
	if target := x.identity.TargetRoleARN; err == nil && target != "" {
		return newFinding(Unknown, "STS gives credentials of the first role; whether they may assume %s is not looked at", target).
			withReason("the trust policy of that role has to allow sts:AssumeRole to %s, whose own policies have to allow it, too", x.identity.RoleARN).
			withEvidence("assumed role", result.AssumedRoleARN).withEvidence("provider", result.Provider)
	}
	if err == nil {
		return newFinding(OK, "STS gives credentials: tried with a token of the ServiceAccount").withEvidence("assumed role", result.AssumedRoleARN).withEvidence("provider", result.Provider)
	}
	refused, ok := errors.AsType[*exchange.Error](err)
	if !ok {
		return newFinding(Unknown, "STS cannot be tried: %v", err)
	}
	if refused.Reason == exchange.Unreachable {
		return newFinding(Unknown, "STS cannot be reached from here").withReason("%v; the pods may reach it all the same", refused.Err).withEvidence("endpoint", x.identity.STSEndpoint)
	}
	finding := newFinding(Broken, "STS gives no credentials: %s: %s", refused.Code, refused.Message).withEvidence("request id", refused.RequestID)
	for _, cause := range []Code{AnnotationsValid, TokenMinted, IssuerDiscovery, IssuerKeys, TokenClaims, OIDCProvider, ProviderAudience, RoleExists, TrustPolicy} {
		if x.status[cause] == Broken {
			return finding.withReason("see %s", cause)
		}
	}
	return finding.withReason("%s", refused.Hint()).withFix("%s", x.fixOf(refused.Reason))
}

// fixOf is a command for a reason of STS's, if there is one.
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
