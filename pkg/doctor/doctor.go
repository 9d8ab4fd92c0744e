// Package doctor owns the diagnosis of a cluster's IRSA: it walks the chain from a
// ServiceAccount to AWS credentials and says of each link whether it is whole, why
// not, and what mends it. It changes nothing. What it mints, it mints to look at:
// tokens and credentials are never part of a finding or an error.
//
// A check judges values, by a function that is pure; what it judges is read before,
// with the rights of whoever asks. What those do not suffice for is unknown, and
// never taken for well.
package doctor

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
)

// Doctor examines ServiceAccounts and pods of a cluster. It reads what they have in
// common once: a Doctor is for one diagnosis.
type Doctor struct {
	// Client reads the cluster. APIServer is its URL, which says whether loopback
	// is the same machine for both.
	Client    kubernetes.Interface
	APIServer string
	// Forward connects to a port of a pod; nil to leave that unknown.
	Forward Forwarder
	// HTTP reads the issuer; nil for the default client.
	HTTP *http.Client
	// AWS is nil to leave IAM alone.
	AWS *AWS
	// PrivateAWS says that AWS is played by something else, so that the issuer need
	// not be reachable from the internet.
	PrivateAWS bool
	// Exchange tries STS; nil to leave it alone.
	Exchange Exchanger
	Options  Options
	// Now tells the time; nil is time.Now.
	Now func() time.Time

	known sharedState
}

// Options are what the user says of the cluster. Empty ones are what the webhook
// was started with, if that can be read, or its defaults.
type Options struct {
	Audience, AnnotationPrefix string
	// WebhookName is that of the MutatingWebhookConfiguration.
	WebhookName string
	// SkipDryRun leaves out the pod that is created as a dry run.
	SkipDryRun bool
	// Commands are how what mends something reaches this cluster and account.
	Commands Commands
}

// AWS is the account as the caller's credentials see it.
type AWS struct {
	IAM IAM
	STS Caller
}

// IAM is what is read of it.
type IAM interface {
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
	GetOpenIDConnectProvider(context.Context, *iam.GetOpenIDConnectProviderInput, ...func(*iam.Options)) (*iam.GetOpenIDConnectProviderOutput, error)
	ListOpenIDConnectProviders(context.Context, *iam.ListOpenIDConnectProvidersInput, ...func(*iam.Options)) (*iam.ListOpenIDConnectProvidersOutput, error)
}

// Caller says whose the credentials are.
type Caller interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// Exchanger exchanges a token at the STS of an endpoint and a region, which are
// empty for those of the configuration.
type Exchanger func(ctx context.Context, endpoint, region string, in exchange.Input) (exchange.Result, error)

// NewExchanger exchanges as package exchange does.
func NewExchanger(config aws.Config) Exchanger {
	return func(ctx context.Context, endpoint, region string, in exchange.Input) (exchange.Result, error) {
		// Of its own: the next ServiceAccount's token is not for this endpoint.
		config := config.Copy()
		if endpoint != "" {
			config.BaseEndpoint = aws.String(endpoint)
		}
		if region != "" {
			config.Region = region
		}
		return exchange.WithWebIdentity(ctx, config, in)
	}
}

func (d *Doctor) now() time.Time {
	if d.Now == nil {
		return time.Now()
	}
	return d.Now()
}
