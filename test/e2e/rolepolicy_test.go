package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

func TestRolePolicy(t *testing.T) {
	client := newClient(t)
	registeredAs(t, client, webhookprocess.RegisterOptions{}, "--role-policy=on")
	for _, test := range []struct {
		name, annotation, value string
		permitted               bool
	}{
		{name: "a namespace without a policy is free", permitted: true},
		{"the pattern matches", "eks.amazonaws.com/permitted-roles", `["arn:aws:iam::111122223333:role/*"]`, true},
		{"the list of names has the role", "eks.amazonaws.com/permitted-roles", "other, app", true},
		{"the pattern does not match", "eks.amazonaws.com/permitted-roles", `["arn:aws:iam::111122223333:role/team-*"]`, false},
		{"the policy is invalid", "eks.amazonaws.com/permitted-roles", `["arn:aws`, false},
		{"kiam's expression matches", "iam.amazonaws.com/permitted", "^arn:aws:iam::111122223333:role/a.*$", true},
		{"kiam's expression does not match", "iam.amazonaws.com/permitted", "^arn:aws:iam::111122223333:role/b.*$", false},
		{"kube2iam's list has the role", "iam.amazonaws.com/allowed-roles", `["` + appRole + `"]`, true},
		{"kube2iam's list lacks the role", "iam.amazonaws.com/allowed-roles", `["arn:aws:iam::111122223333:role/b*"]`, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace := newNamespace(t, client)
			createServiceAccount(t, client, namespace, "app")
			if test.annotation != "" {
				patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, test.annotation, test.value)
				if _, err := client.CoreV1().Namespaces().Patch(t.Context(), namespace, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
					t.Fatal(err)
				}
			}
			pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{})
			if test.permitted {
				if err != nil || roleOf(pod) != appRole {
					t.Errorf("got role %q, error %v", roleOf(pod), err)
				}
				return
			}
			if !apierrors.IsForbidden(err) {
				t.Fatalf("got %v, want a denial", err)
			}
			for _, want := range []string{namespace, appRole, test.annotation} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the message does not name %s: %v", want, err)
				}
			}
		})
	}
}

func TestRolePolicy_require(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	createServiceAccount(t, client, namespace, "app")
	// The probes that wait for the webhook configuration are pods with a role in
	// namespace default.
	permit := []byte(`{"metadata":{"annotations":{"eks.amazonaws.com/permitted-roles":"*"}}}`)
	if _, err := client.CoreV1().Namespaces().Patch(t.Context(), "default", types.MergePatchType, permit, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		revoke := []byte(`{"metadata":{"annotations":{"eks.amazonaws.com/permitted-roles":null}}}`)
		_, err := client.CoreV1().Namespaces().Patch(context.WithoutCancel(t.Context()), "default", types.MergePatchType, revoke, metav1.PatchOptions{})
		if err != nil {
			t.Error(err)
		}
	})
	registeredAs(t, client, webhookprocess.RegisterOptions{}, "--role-policy=require")

	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a pod with a role: got %v, want a denial", err)
	}
	if _, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("plain", "default"), metav1.CreateOptions{}); err != nil {
		t.Errorf("a pod without a role: got %v", err)
	}
}
