package controlplane

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// tokenLifetime is in seconds. It is longer than any test.
const tokenLifetime = 24 * 3600

// bindAdmin makes the user of Config a cluster administrator. It waits until the API server
// permits this user everything.
func (cp *ControlPlane) bindAdmin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client, err := kubernetes.NewForConfig(cp.ConfigOf(superAdmin))
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: adminGroup},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: adminGroup}},
	}
	_, err = client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ClusterRoleBinding %s: %w", adminGroup, err)
	}
	return cp.apiServer.WaitReady(ctx, func(ctx context.Context) error {
		return ExpectPermitted(ctx, cp.Config(), authorizationv1.ResourceAttributes{Group: "*", Resource: "*", Verb: "*"})
	})
}

// ExpectPermitted returns an error unless the API server permits the user of a configuration
// the attributes. The API server applies a new role binding some milliseconds after its
// creation.
func ExpectPermitted(ctx context.Context, config *rest.Config, attributes authorizationv1.ResourceAttributes) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	review, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &attributes},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create SelfSubjectAccessReview: %w", err)
	}
	if !review.Status.Allowed {
		return fmt.Errorf("%s of %s is not permitted: %s", attributes.Verb, attributes.Resource, review.Status.Reason)
	}
	return nil
}

// ServiceAccountConfig returns Config with a token of a ServiceAccount instead of the
// administrator's.
func (cp *ControlPlane) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	config := cp.Config()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(tokenLifetime))},
	}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("request token of ServiceAccount %s/%s: %w", namespace, name, err)
	}
	config.BearerToken = token.Status.Token
	return config, nil
}
