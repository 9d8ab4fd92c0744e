package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
)

// policy is attached to the role, as AWS's guide for the agent recommends.
const policy = "arn:aws:iam::aws:policy/CloudWatchAgentServerPolicy"

// startSTS starts local-sts, the fake AWS, and returns its name and URL.
func (c *cluster) startSTS(ctx context.Context) (string, error) {
	dir, err := c.directory("sts")
	if err != nil {
		return "", err
	}
	// STS must trust the server of the issuer's keys. AWS trusts the public CAs.
	if err := os.WriteFile(c.issuerCA(), c.controlPlane.CABundle(), 0o600); err != nil {
		return "", err
	}
	c.sts, err = stsprocess.Start(ctx, stsprocess.Options{Binary: c.options.localSTS, Dir: dir, IssuerCAFile: c.issuerCA()})
	if err != nil {
		return "", err
	}
	return "local-sts " + c.sts.URL(), nil
}

// issuerCA returns the path of the CA certificate of the server of the issuer's keys.
func (c *cluster) issuerCA() string { return filepath.Join(c.dir, "issuer-ca.crt") }

// createProvider creates an OIDC provider for the cluster's issuer in IAM.
func (c *cluster) createProvider(ctx context.Context) (string, error) {
	return "kubectl irsa provider create", c.irsa(ctx, "provider", "create", "--approve")
}

// createRole creates the role that the annotation of the example's ServiceAccount names.
func (c *cluster) createRole(ctx context.Context) (string, error) {
	return "kubectl irsa serviceaccount create", c.irsa(ctx, "serviceaccount", "create", agent, "--namespace="+namespace,
		"--role-name="+agent, "--role-only", "--attach-policy-arn="+policy, "--approve")
}

// irsa runs kubectl irsa as the administrator of the cluster and of the AWS account.
func (c *cluster) irsa(ctx context.Context, args ...string) error {
	environment, err := c.administrator(ctx)
	if err != nil {
		return err
	}
	_, err = output(ctx, c.options.plugin, args, append(environment, "KUBECONFIG="+c.controlPlane.Kubeconfig(), "HOME="+c.dir)...)
	return err
}

// administrator returns environment variables with the credentials of the account's administrator.
func (c *cluster) administrator(ctx context.Context) ([]string, error) {
	credentials, err := c.sts.AdminConfig().Credentials.Retrieve(ctx)
	if err != nil {
		return nil, err
	}
	return []string{
		"AWS_ENDPOINT_URL=" + c.sts.URL(), "AWS_REGION=" + stsprocess.Region,
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
	}, nil
}

// whoAmI runs `local-sts whoami`, a program with an AWS SDK, with nothing but a
// container's environment and token, and returns its output.
func (c *cluster) whoAmI(ctx context.Context, container *corev1.Container, rawToken string) (string, error) {
	directory, err := os.MkdirTemp(c.dir, "container-")
	if err != nil {
		return "", err
	}
	// The kubelet writes the same file, in another directory: this program has
	// no container with its own file system.
	file := filepath.Join(directory, "token")
	if err := os.WriteFile(file, []byte(rawToken), 0o600); err != nil {
		return "", err
	}
	var environment []string
	for _, variable := range container.Env {
		if variable.ValueFrom != nil {
			continue // its value comes from a node, and there are no nodes
		}
		value := variable.Value
		if variable.Name == tokenVariable {
			value = file
		}
		environment = append(environment, variable.Name+"="+value)
	}
	return output(ctx, c.options.localSTS, []string{"whoami"}, environment...)
}

// output runs a program with only the given environment and returns its
// standard output. The error includes the program's standard error.
func output(ctx context.Context, path string, args []string, environment ...string) (string, error) {
	command := exec.CommandContext(ctx, path, args...) //nolint:gosec // the options' programs
	command.Env = environment
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.Output()
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%w: run make build", err)
		}
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(path), strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(stdout)), nil
}
