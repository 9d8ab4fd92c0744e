package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
)

// What deploy/local-sts names, and how its administrator is known, which is
// published: it opens nothing else.
const (
	stsNamespace = "local-sts"
	stsSelector  = "app.kubernetes.io/name=local-sts"
	stsPort      = "7480"
	// stsURL is where pods find it, in clusters of whatever domain.
	stsURL         = "http://local-sts.local-sts.svc:" + stsPort
	adminAccessKey = "AKIALOCALSTSADMIN000" //nolint:gosec // its default, which everybody knows
	adminSecretKey = "local-sts"
	region         = "us-east-1"
)

// sts says whose STS the pods are sent to.
type sts string

const (
	localSTS sts = "local-sts"
	awsSTS   sts = "aws"
)

func (s *sts) String() string { return string(*s) }

// Set makes it the value of a flag.
func (s *sts) Set(value string) error {
	switch sts(value) {
	case localSTS, awsSTS:
		*s = sts(value)
		return nil
	default:
		return fmt.Errorf("it is neither %s nor %s", localSTS, awsSTS)
	}
}

// applySTS runs local-sts. A pod of an earlier time has an earlier image.
func (c *cluster) applySTS(ctx context.Context) error {
	if err := c.pods(ctx, "delete", stsNamespace, stsSelector, "--ignore-not-found"); err != nil {
		return err
	}
	if err := c.apply(ctx, repository.Path("deploy", "local-sts")); err != nil {
		return err
	}
	return c.pods(ctx, "wait", stsNamespace, stsSelector, "--for=create", "--for=condition=Ready", "--timeout=2m")
}

// provision does in IAM, and for the application's ServiceAccount, what somebody
// with an AWS account does once.
func (c *cluster) provision(ctx context.Context) error {
	if err := c.apply(ctx, repository.Path("deploy", "kind", "whoami-namespace.yaml")); err != nil {
		return err
	}
	return c.forward(ctx, stsNamespace, "local-sts", stsPort, func(ctx context.Context, address string) error {
		for _, args := range [][]string{
			{"provider", "create", "--approve"},
			{"serviceaccount", "create", whoamiName, "--namespace", whoamiNamespace, "--role-name", whoamiName, "--approve"},
		} {
			if err := c.irsa(ctx, "http://"+address, args...); err != nil {
				return err
			}
		}
		return nil
	})
}

// irsa runs the plugin as the administrator of local-sts. Of the user's own
// environment it gets nothing: that may know of a real account.
func (c *cluster) irsa(ctx context.Context, url string, args ...string) error {
	fmt.Fprintf(c.out, "$ %s\n", line("kubectl irsa", args))
	return runWith(ctx, c.out, []string{
		"HOME=" + filepath.Dir(c.kubeconfig), "AWS_ENDPOINT_URL=" + url, "AWS_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + adminAccessKey, "AWS_SECRET_ACCESS_KEY=" + adminSecretKey,
	}, c.plugin, append([]string{"--kubeconfig", c.kubeconfig}, args...)...)
}
