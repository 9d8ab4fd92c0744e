package controlplane

import (
	"context"
	"fmt"
	"net/http"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

// publishIssuer allows unauthenticated clients to read the issuer's discovery document and
// keys, as an STS needs to, and waits until they can.
func (cp *ControlPlane) publishIssuer(ctx context.Context, client kubernetes.Interface) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "service-account-issuer-discovery-for-everybody"},
		RoleRef: rbacv1.RoleRef{
			APIGroup: rbacv1.GroupName,
			Kind:     "ClusterRole",
			Name:     "system:service-account-issuer-discovery",
		},
		Subjects: []rbacv1.Subject{{
			APIGroup: rbacv1.GroupName,
			Kind:     rbacv1.GroupKind,
			Name:     "system:unauthenticated",
		}},
	}
	_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("publish issuer: %w", err)
	}
	anonymous, err := cp.AnonymousClient()
	if err != nil {
		return err
	}
	defer anonymous.CloseIdleConnections()
	return cp.apiServer.WaitReady(ctx, func(ctx context.Context) error {
		return process.ExpectOK(ctx, anonymous, cp.url()+"/.well-known/openid-configuration")
	})
}

// AnonymousClient returns an HTTP client that trusts the API server and has no
// credentials for it, like an STS. Each of its requests has a deadline.
func (cp *ControlPlane) AnonymousClient() (*http.Client, error) {
	client, err := rest.HTTPClientFor(rest.AnonymousClientConfig(cp.Config()))
	if err != nil {
		return nil, fmt.Errorf("create anonymous client: %w", err)
	}
	client.Timeout = requestTimeout
	return client, nil
}
