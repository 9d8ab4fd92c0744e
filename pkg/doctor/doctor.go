// Package doctor diagnoses IRSA in a cluster. It checks each step from a ServiceAccount
// to AWS credentials. For each step it reports the status, the cause of a failure, and
// a command that fixes it. It changes nothing. It requests a token and credentials
// only to check them, and never puts them into a finding or an error.
//
// Each check reads its inputs with the caller's permissions and evaluates them with a
// pure function. If the caller may not read an input, the status is Unknown, never OK.
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

// Doctor diagnoses the ServiceAccounts and pods of a cluster. It caches the objects
// that they share, so use a new Doctor for each diagnosis.
type Doctor struct {
	// Client reads the cluster. APIServer is the URL of the API server. If its host is a
	// loopback address, a webhook on the API server's host is reachable from here.
	Client    kubernetes.Interface
	APIServer string
	// Forward connects to a port of a pod. If nil, checks that need it are Unknown.
	Forward Forwarder
	// HTTP reads the issuer's documents. If nil, http.DefaultClient is used.
	HTTP *http.Client
	// AWS reads IAM. If nil, the checks of IAM are skipped.
	AWS *AWS
	// PrivateAWS is true for a fake AWS or another custom endpoint. The issuer need not
	// be reachable from the internet then.
	PrivateAWS bool
	// Exchange exchanges a token at STS. If nil, the check of STS is skipped.
	Exchange Exchanger
	Options  Options
	// Now returns the current time. If nil, time.Now is used.
	Now func() time.Time

	known sharedState
}

// Options are settings from the user. An empty audience or prefix defaults to the
// webhook's flag, if it can be read, or to the default of that flag.
type Options struct {
	Audience, AnnotationPrefix string
	// WebhookName is the name of the MutatingWebhookConfiguration. If empty, doctor
	// looks for a webhook with the usual path and names.
	WebhookName string
	// SkipDryRun disables the creation of a pod as a dry run.
	SkipDryRun bool
	// Commands are the flags that fixes need to reach this cluster and account.
	Commands Commands
}

// AWS contains the clients for the AWS account of the caller's credentials.
type AWS struct {
	IAM IAM
	STS Caller
}

// IAM is the part of the IAM client that the checks use.
type IAM interface {
	GetRole(context.Context, *iam.GetRoleInput, ...func(*iam.Options)) (*iam.GetRoleOutput, error)
	GetOpenIDConnectProvider(context.Context, *iam.GetOpenIDConnectProviderInput, ...func(*iam.Options)) (*iam.GetOpenIDConnectProviderOutput, error)
	ListOpenIDConnectProviders(context.Context, *iam.ListOpenIDConnectProvidersInput, ...func(*iam.Options)) (*iam.ListOpenIDConnectProvidersOutput, error)
}

// Caller returns the identity that the credentials belong to.
type Caller interface {
	GetCallerIdentity(context.Context, *sts.GetCallerIdentityInput, ...func(*sts.Options)) (*sts.GetCallerIdentityOutput, error)
}

// Exchanger exchanges a token for credentials at the STS of an endpoint and a region.
// If they are empty, it uses those of the AWS configuration. It returns an error if
// STS rejects the token or cannot be reached.
type Exchanger func(ctx context.Context, endpoint, region string, in exchange.Input) (exchange.Result, error)

// NewExchanger returns an Exchanger that calls exchange.WithWebIdentity with config.
func NewExchanger(config aws.Config) Exchanger {
	return func(ctx context.Context, endpoint, region string, in exchange.Input) (exchange.Result, error) {
		// A copy, because the next ServiceAccount may have another endpoint or region.
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
