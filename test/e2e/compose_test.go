package e2e_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

func TestComposeRoleARN(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	registeredAs(t, client, webhookprocess.RegisterOptions{},
		"--compose-role-arn", "--aws-account-id=111122223333", "--aws-partition=aws-cn")
	for name, role := range map[string]string{"bare": "app", "with-path": "team/app", "whole": appRole} {
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount(name, role), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	wantRole(t, client, namespace, "bare", "arn:aws-cn:iam::111122223333:role/app")
	wantRole(t, client, namespace, "with-path", "arn:aws-cn:iam::111122223333:role/team/app")
	wantRole(t, client, namespace, "whole", appRole)
}
