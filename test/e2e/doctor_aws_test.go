package e2e_test

import (
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

func (c *doctorEnv) iam() *iam.Client { return iam.NewFromConfig(c.aws.AdminConfig()) }

// resetAWS deletes all providers and roles.
func (c *doctorEnv) resetAWS(t *testing.T) {
	t.Helper()
	client := c.iam()
	providers, err := client.ListOpenIDConnectProviders(t.Context(), &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, provider := range providers.OpenIDConnectProviderList {
		if _, err := client.DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: provider.Arn}); err != nil {
			t.Fatal(err)
		}
	}
	roles, err := client.ListRoles(t.Context(), &iam.ListRolesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range roles.Roles {
		c.deleteRole(t, aws.ToString(role.RoleName))
	}
}

func (c *doctorEnv) deleteRole(t *testing.T, name string) {
	t.Helper()
	if _, err := c.iam().DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String(name)}); err != nil {
		t.Fatal(err)
	}
}

// createProvider creates an OIDC provider for an issuer.
func (c *doctorEnv) createProvider(t *testing.T, issuer string, audiences ...string) {
	t.Helper()
	if _, err := c.iam().CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(issuer), ClientIDList: audiences,
	}); err != nil {
		t.Fatal(err)
	}
}

func (c *doctorEnv) deleteProvider(t *testing.T) {
	t.Helper()
	if _, err := c.iam().DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{
		OpenIDConnectProviderArn: aws.String(c.providerARN()),
	}); err != nil {
		t.Fatal(err)
	}
}

func (c *doctorEnv) providerARN() string {
	return "arn:aws:iam::111122223333:oidc-provider/" + strings.TrimPrefix(c.issuer.URL, "https://")
}

// trust replaces the role's trust policy. conditions are keyed by their operators.
func (c *doctorEnv) trust(t *testing.T, provider string, conditions map[string]map[string]string) {
	t.Helper()
	document, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
			"Principal": map[string]string{"Federated": provider}, "Condition": conditions,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.setTrustPolicy(t, cartRole, string(document)); err != nil {
		t.Fatal(err)
	}
}

func (c *doctorEnv) setTrustPolicy(t *testing.T, roleName, document string) error {
	t.Helper()
	_, err := c.iam().UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
		RoleName: aws.String(roleName), PolicyDocument: aws.String(document),
	})
	return err
}

// updateTrustPolicy runs the IAM call that the fake aws command recorded.
func (c *doctorEnv) updateTrustPolicy(t *testing.T) error {
	t.Helper()
	name, err := os.ReadFile(filepath.Join(c.dir, "role-name"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	document, err := os.ReadFile(filepath.Join(c.dir, "policy-document"))
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(c.dir, "role-name")); err != nil {
		return err
	}
	return c.setTrustPolicy(t, string(name), string(document))
}

// writeTrustPolicies writes the trust policy of each role for the fake aws command.
func (c *doctorEnv) writeTrustPolicies(t *testing.T) {
	t.Helper()
	roles, err := c.iam().ListRoles(t.Context(), &iam.ListRolesInput{})
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range roles.Roles {
		policy, err := url.PathUnescape(aws.ToString(role.AssumeRolePolicyDocument))
		if err != nil {
			t.Fatal(err)
		}
		c.write(t, "trust-policy-"+aws.ToString(role.RoleName), []byte(policy))
	}
}
