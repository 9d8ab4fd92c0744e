package walkthrough

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Show prints the token volumes, mounts and variables of the example's pod, and
// the issuer of its tokens. It returns an error if the pod has no token for AWS.
func (c *Cluster) Show(ctx context.Context) error {
	pod, err := c.firstPod(ctx, ExampleNamespace, exampleSelector)
	if err != nil {
		return err
	}
	if err := ShowPod(c.Out, pod); err != nil {
		return err
	}
	discovery, err := Output(ctx, c.Kubectl, "--kubeconfig", c.Kubeconfig, "get", "--raw", "/.well-known/openid-configuration")
	if err != nil {
		return err
	}
	var issuer struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(discovery, &issuer); err != nil {
		return fmt.Errorf("read the issuer's discovery document: %w", err)
	}
	fmt.Fprintf(c.Out, "\nIssuer of its tokens: %s\nKeys of the issuer:   %s\n", issuer.Issuer, issuer.JWKS)
	return nil
}

// firstPod returns the first pod that matches the selector, or an error if none matches.
func (c *Cluster) firstPod(ctx context.Context, namespace, selector string) (*corev1.Pod, error) {
	listed, err := Output(ctx, c.Kubectl, "--kubeconfig", c.Kubeconfig, "--namespace", namespace,
		"get", "pods", "--selector", selector, "--output", "json")
	if err != nil {
		return nil, err
	}
	var pods corev1.PodList
	if err := json.Unmarshal(listed, &pods); err != nil {
		return nil, fmt.Errorf("read the pods %s of namespace %s: %w", selector, namespace, err)
	}
	if len(pods.Items) == 0 {
		return nil, errors.New("namespace " + namespace + " has no pod with labels " + selector + "; run `kubectl --namespace " + namespace + " get events`")
	}
	return &pods.Items[0], nil
}

// ShowPod prints the pod's volumes with tokens for audiences other than the API
// server, and each container's mounts of them and AWS_ variables. It returns an
// error if there is no such volume.
func ShowPod(out io.Writer, pod *corev1.Pod) error {
	fmt.Fprintf(out, "\nPod %s/%s of ServiceAccount %s has:\n", pod.Namespace, pod.Name, pod.Spec.ServiceAccountName)
	tokens := make(map[string]bool)
	for _, volume := range pod.Spec.Volumes {
		if volume.Projected == nil {
			continue
		}
		for _, source := range volume.Projected.Sources {
			// The token for the API server has no audience.
			if token := source.ServiceAccountToken; token != nil && token.Audience != "" {
				tokens[volume.Name] = true
				fmt.Fprintf(out, "  volume %s: a token in the file %s", volume.Name, token.Path)
				if token.ExpirationSeconds != nil {
					fmt.Fprintf(out, ", for %d s", *token.ExpirationSeconds)
				}
				fmt.Fprintf(out, ", for %s\n", token.Audience)
			}
		}
	}
	if len(tokens) == 0 {
		return fmt.Errorf("pod %s/%s has no token for AWS; run `kubectl --namespace %s logs deployment/%s`", pod.Namespace, pod.Name, Release, Release)
	}
	for _, container := range pod.Spec.InitContainers {
		showContainer(out, "init container", container, tokens)
	}
	for _, container := range pod.Spec.Containers {
		showContainer(out, "container", container, tokens)
	}
	return nil
}

func showContainer(out io.Writer, kind string, container corev1.Container, tokens map[string]bool) {
	fmt.Fprintf(out, "  %s %s:\n", kind, container.Name)
	for _, mount := range container.VolumeMounts {
		if tokens[mount.Name] {
			fmt.Fprintf(out, "    mount %s at %s\n", mount.Name, mount.MountPath)
		}
	}
	for _, variable := range container.Env {
		if strings.HasPrefix(variable.Name, "AWS_") {
			fmt.Fprintf(out, "    %s=%s\n", variable.Name, variable.Value)
		}
	}
}
