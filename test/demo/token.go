package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The environment variables with the role and the token file for an AWS SDK.
const (
	roleVariable  = "AWS_ROLE_ARN"
	tokenVariable = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable, no credential
)

// mountedToken returns the source of the token that an AWS SDK in the container
// reads. It looks for the volume mount that has the file of the environment
// variable. It returns an error if no mounted volume has a token in that file.
func mountedToken(spec *corev1.PodSpec, container *corev1.Container) (*corev1.ServiceAccountTokenProjection, error) {
	file := environment(container, tokenVariable)
	if file == "" {
		return nil, fmt.Errorf("container %s has no %s", container.Name, tokenVariable)
	}
	for _, mount := range container.VolumeMounts {
		path, within := strings.CutPrefix(file, mount.MountPath+"/")
		if !within {
			continue
		}
		for _, volume := range spec.Volumes {
			if volume.Name != mount.Name || volume.Projected == nil {
				continue
			}
			for _, source := range volume.Projected.Sources {
				if token := source.ServiceAccountToken; token != nil && token.Path == path {
					return token, nil
				}
			}
		}
	}
	return nil, fmt.Errorf("container %s has no token at %s", container.Name, file)
}

func environment(container *corev1.Container, name string) string {
	for _, variable := range container.Env {
		if variable.Name == name {
			return variable.Value
		}
	}
	return ""
}

// requestToken requests a pod's token from the API server, as the kubelet does.
// The audience and the lifetime are the volume's. The token is bound to the pod,
// so that it becomes invalid when the pod is deleted. It is a credential.
func (c *cluster) requestToken(ctx context.Context, pod *corev1.Pod, projection *corev1.ServiceAccountTokenProjection) (string, error) {
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences:         []string{projection.Audience},
		ExpirationSeconds: projection.ExpirationSeconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			APIVersion: "v1",
			Kind:       "Pod",
			Name:       pod.Name,
			UID:        pod.UID,
		},
	}}
	issued, err := c.client.CoreV1().ServiceAccounts(pod.Namespace).
		CreateToken(ctx, pod.Spec.ServiceAccountName, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request token: %w", err)
	}
	return issued.Status.Token, nil
}

// expectRejected returns an error if the API server accepts the token as a
// credential for its own API.
func (c *cluster) expectRejected(ctx context.Context, rawToken string) error {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: rawToken}}
	review, err := c.client.AuthenticationV1().TokenReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create TokenReview: %w", err)
	}
	if review.Status.Authenticated {
		return errors.New("the API server accepts the token")
	}
	return nil
}
