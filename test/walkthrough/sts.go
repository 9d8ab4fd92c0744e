package walkthrough

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
)

// Names in deploy/local-sts.
const (
	// STSNamespace is the namespace of local-sts. STSSelector selects its pods.
	STSNamespace = "local-sts"
	STSSelector  = "app.kubernetes.io/name=local-sts"
	STSPort      = "7480"
	// STSURL is the URL of local-sts for pods, in clusters with any domain.
	STSURL = "http://local-sts.local-sts.svc:" + STSPort
	// Region is the AWS region of the applications.
	Region = "us-east-1"
)

// STS is the STS that the pods use.
type STS string

const (
	// LocalSTS is local-sts, which runs in the cluster.
	LocalSTS STS = "local-sts"
	// AWSSTS is the STS of AWS.
	AWSSTS STS = "aws"
)

func (s *STS) String() string { return string(*s) }

// Set implements flag.Value. It returns an error if value is not LocalSTS or AWSSTS.
func (s *STS) Set(value string) error {
	switch STS(value) {
	case LocalSTS, AWSSTS:
		*s = STS(value)
		return nil
	default:
		return fmt.Errorf("%q is neither %s nor %s", value, LocalSTS, AWSSTS)
	}
}

// ApplySTS installs local-sts and waits until it is ready. It deletes an existing
// pod, which may run an older image.
func (c *Cluster) ApplySTS(ctx context.Context) error {
	if err := c.pods(ctx, "delete", STSNamespace, STSSelector, "--ignore-not-found"); err != nil {
		return err
	}
	if err := c.Apply(ctx, repopath.Path("deploy", "local-sts")); err != nil {
		return err
	}
	return c.pods(ctx, "wait", STSNamespace, STSSelector, "--for=create", "--for=condition=Ready", "--timeout=2m")
}

// Provision creates the OIDC provider, the role and the application's
// ServiceAccount with kubectl irsa, as you do once in an AWS account.
func (c *Cluster) Provision(ctx context.Context) error {
	if err := c.Apply(ctx, repopath.Path("deploy", "kind", "whoami-namespace.yaml")); err != nil {
		return err
	}
	return c.Forward(ctx, STSNamespace, "local-sts", STSPort, func(ctx context.Context, address string) error {
		for _, args := range [][]string{
			{"provider", "create", "--approve"},
			{"serviceaccount", "create", WhoAmI, "--namespace", WhoAmI, "--role-name", WhoAmI, "--approve"},
		} {
			if err := c.IRSA(ctx, "http://"+address, args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// Environment returns environment variables for the administrator of the
// local-sts at url. It has none of the user's variables, which may contain
// credentials of a real account.
func (c *Cluster) Environment(url string) []string {
	return []string{
		"HOME=" + filepath.Dir(c.Kubeconfig), "AWS_ENDPOINT_URL=" + url, "AWS_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=" + stsprocess.AdminAccessKeyID, "AWS_SECRET_ACCESS_KEY=" + stsprocess.AdminSecret,
	}
}

// IRSA runs kubectl irsa as the administrator of the local-sts at url, with only
// the variables of Environment.
func (c *Cluster) IRSA(ctx context.Context, url string, args ...string) error {
	fmt.Fprintf(c.Out, "$ %s\n", line("kubectl irsa", args))
	return runWith(ctx, c.Out, c.Environment(url), c.Plugin, append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}
