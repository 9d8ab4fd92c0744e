package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// stopTimeout is much longer than an idle webhook needs to shut down.
const stopTimeout = 10 * time.Second

// cluster is a control plane with the webhook, and a fake AWS. Its parts are nil until they
// are started.
type cluster struct {
	options      options
	dir          string
	controlPlane *controlplane.ControlPlane
	client       kubernetes.Interface
	webhook      *webhookprocess.Webhook
	sts          *stsprocess.Server
}

// startControlPlane starts etcd and the API server. It returns their names and
// the address of the API server.
func (c *cluster) startControlPlane(ctx context.Context) (string, error) {
	dir, err := c.directory("controlplane")
	if err != nil {
		return "", err
	}
	c.controlPlane, err = controlplane.Start(ctx, controlplane.Options{Assets: c.options.assets, Dir: dir})
	if err != nil {
		return "", err
	}
	c.client, err = kubernetes.NewForConfig(c.controlPlane.Config())
	if err != nil {
		return "", fmt.Errorf("create client: %w", err)
	}
	return "etcd, kube-apiserver " + c.controlPlane.Config().Host, nil
}

// applyExample applies the example's manifests and returns the kinds of the objects.
func (c *cluster) applyExample(ctx context.Context) (string, error) {
	var files []string
	for _, name := range []string{"namespace.yaml", "serviceaccount.yaml", "configmap.yaml", "daemonset.yaml"} {
		files = append(files, filepath.Join(c.options.example, name))
	}
	objects, err := manifest.Apply(ctx, c.controlPlane.Config(), files...)
	if err != nil {
		return "", err
	}
	var kinds []string
	for _, object := range objects {
		kinds = append(kinds, object.GetKind())
	}
	return strings.Join(kinds, ", "), controlplane.CreateDefaultServiceAccount(ctx, c.client, namespace)
}

// startWebhook starts the webhook, creates its webhook configuration and returns its URL.
func (c *cluster) startWebhook(ctx context.Context) (string, error) {
	dir, err := c.directory("webhook")
	if err != nil {
		return "", err
	}
	config, err := webhookprocess.ManifestConfig(ctx, c.controlPlane)
	if err != nil {
		return "", err
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := controlplane.WriteKubeconfig(kubeconfig, config); err != nil {
		return "", err
	}
	c.webhook, err = webhookprocess.Start(ctx, webhookprocess.Options{
		Binary:     c.options.webhook,
		Cluster:    c.controlPlane,
		Kubeconfig: kubeconfig,
		Dir:        dir,
		Args: []string{
			"--namespace=" + webhookprocess.ManifestNamespace,
			"--sts-endpoint=" + c.sts.URL(), "--aws-default-region=" + stsprocess.Region,
			// A shutdown delay is for load balancers. The demo has none.
			"--shutdown-delay=0s",
		},
	})
	if err != nil {
		return "", err
	}
	return c.webhook.URL(), c.webhook.Register(ctx, c.client, webhookprocess.RegisterOptions{})
}

// stop stops the started parts, in reverse order. It returns an error if the
// webhook does not exit with code 0 within stopTimeout.
func (c *cluster) stop() error {
	var err error
	if c.webhook != nil {
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		var code int
		if code, err = c.webhook.Stop(ctx); err == nil && code != 0 {
			err = fmt.Errorf("stop the webhook: exit code %d", code)
		}
	}
	if c.sts != nil {
		c.sts.Stop()
	}
	if c.controlPlane != nil {
		c.controlPlane.Stop()
	}
	return err
}

func (c *cluster) directory(name string) (string, error) {
	path := filepath.Join(c.dir, name)
	return path, os.Mkdir(path, 0o700)
}
