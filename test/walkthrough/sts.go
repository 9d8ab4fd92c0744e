package walkthrough

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
)

// What deploy/local-sts names.
const (
	// STSNamespace is that of local-sts, STSSelector of its pods.
	STSNamespace = "local-sts"
	STSSelector  = "app.kubernetes.io/name=local-sts"
	STSPort      = "7480"
	// STSURL is where pods find it, in clusters of whatever domain.
	STSURL = "http://local-sts.local-sts.svc:" + STSPort
	// Region is the one that applications are given.
	Region = "us-east-1"
)

// STS says whose STS the pods are sent to.
type STS string

const (
	// LocalSTS is run in the cluster.
	LocalSTS STS = "local-sts"
	// AWSSTS is AWS's own.
	AWSSTS STS = "aws"
)

func (s *STS) String() string { return string(*s) }

// Set makes it the value of a flag.
func (s *STS) Set(value string) error {
	switch STS(value) {
	case LocalSTS, AWSSTS:
		*s = STS(value)
		return nil
	default:
		return fmt.Errorf("it is neither %s nor %s", LocalSTS, AWSSTS)
	}
}

// ApplySTS runs local-sts. A pod of an earlier time has an earlier image.
func (c *Cluster) ApplySTS(ctx context.Context) error {
	if err := c.pods(ctx, "delete", STSNamespace, STSSelector, "--ignore-not-found"); err != nil {
		return err
	}
	if err := c.Apply(ctx, repopath.Path("deploy", "local-sts")); err != nil {
		return err
	}
	return c.pods(ctx, "wait", STSNamespace, STSSelector, "--for=create", "--for=condition=Ready", "--timeout=2m")
}

// Provision does in IAM, and for the application's ServiceAccount, what somebody
// with an AWS account does once.
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

// Environment is that of the administrator of local-sts, which is at url. Nothing
// of the user's own is in it: that may know of a real account.
func (c *Cluster) Environment(url string) []string {
	return []string{
		"HOME=" + filepath.Dir(c.Kubeconfig), "AWS_ENDPOINT_URL=" + url, "AWS_REGION=" + Region,
		"AWS_ACCESS_KEY_ID=" + stsprocess.AdminAccessKeyID, "AWS_SECRET_ACCESS_KEY=" + stsprocess.AdminSecret,
	}
}

// IRSA runs the plugin as the administrator of local-sts. Of the user's own
// environment it gets nothing: that may know of a real account.
func (c *Cluster) IRSA(ctx context.Context, url string, args ...string) error {
	fmt.Fprintf(c.Out, "$ %s\n", line("kubectl irsa", args))
	return runWith(ctx, c.Out, c.Environment(url), c.Plugin, append([]string{"--kubeconfig", c.Kubeconfig}, args...)...)
}
