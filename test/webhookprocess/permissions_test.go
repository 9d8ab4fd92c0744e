package webhookprocess

import (
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

func TestValuesOf(t *testing.T) {
	unused := []string{"certificates.source=secret", "certificates.secretName=unused"}
	for _, test := range []struct {
		name          string
		args          []string
		wantNamespace string
		wantValues    []string
	}{
		{"no flags", nil, "eks", unused},
		{"flags without permissions", []string{"-v=4", "--aws-default-region=eu-west-1"}, "eks", unused},
		{"a namespace", []string{"--namespace=kube-system"}, "kube-system", unused},
		{"a role policy", []string{"--role-policy=require"}, "eks", append([]string{"rolePolicy=require"}, unused...)},
		{"the ConfigMap", []string{"--watch-config-map"}, "eks", append([]string{"watchConfigMap=true"}, unused...)},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace, values := valuesOf(test.args)
			if namespace != test.wantNamespace || !slices.Equal(values, test.wantValues) {
				t.Errorf("got %q and %q, want %q and %q", namespace, values, test.wantNamespace, test.wantValues)
			}
		})
	}
}

func TestChartConfig_hasTheChartsPermissions(t *testing.T) {
	ctx := t.Context()
	cp, err := controlplane.Start(ctx, controlplane.Options{Dir: t.TempDir(), Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cp.Stop)
	for _, test := range []struct {
		name      string
		args      []string
		access    authorizationv1.ResourceAttributes
		permitted bool
	}{
		{"read ServiceAccounts", nil, authorizationv1.ResourceAttributes{Resource: "serviceaccounts", Verb: "get"}, true},
		{"read Namespaces without a role policy", nil, authorizationv1.ResourceAttributes{Resource: "namespaces", Verb: "get"}, false},
		{"read Namespaces with a role policy", []string{"--role-policy=on"}, authorizationv1.ResourceAttributes{Resource: "namespaces", Verb: "get"}, true},
		{"create pods", nil, authorizationv1.ResourceAttributes{Namespace: "default", Resource: "pods", Verb: "create"}, false},
		{"read Secrets", nil, authorizationv1.ResourceAttributes{Namespace: defaultNamespace, Resource: "secrets", Verb: "get"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, err := ChartConfig(ctx, cp, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if err := controlplane.ExpectPermitted(ctx, config, test.access); (err == nil) != test.permitted {
				t.Errorf("got %v, want permitted %t", err, test.permitted)
			}
		})
	}
}
