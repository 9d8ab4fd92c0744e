package webhookprocess

import (
	"bytes"
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// defaultNamespace is the default of the webhook's flag --namespace.
const defaultNamespace = "eks"

// ManifestNamespace is the namespace of the manifests in deploy/kustomize.
const ManifestNamespace = "pod-identity-webhook"

// clusterPrefix is the prefix of the names of the chart's cluster-scoped objects.
const clusterPrefix = "irsa-"

// permissionTemplates are the chart's templates for the webhook's permissions and flow
// control.
var permissionTemplates = []string{"serviceaccount.yaml", "rbac.yaml", "flowcontrol.yaml"}

// ChartConfig returns the configuration of a client that runs as the chart's ServiceAccount.
// It applies that ServiceAccount, its RBAC and its flow control from the rendered chart. args
// are the webhook's flags: the permissions are those that the chart grants for them.
func ChartConfig(ctx context.Context, cluster *controlplane.ControlPlane, args ...string) (*rest.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	admin, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	namespace, values := valuesOf(args)
	if err := controlplane.CreateNamespace(ctx, admin, namespace); err != nil {
		return nil, err
	}
	// Webhooks with different permissions run in the same cluster, next to chart
	// installations with the default name.
	name := fmt.Sprintf("local-webhook-%08x", hash(append(values, namespace)))
	if err := applyPermissions(ctx, cluster, namespace, append(values, "fullnameOverride="+name)); err != nil {
		return nil, fmt.Errorf("apply chart's permissions: %w", err)
	}
	return configWhenEffective(ctx, cluster, admin, namespace, name)
}

// ManifestConfig is ChartConfig with the manifests that `make manifests` writes, so that it
// needs no helm. The webhook must have the flag --namespace=ManifestNamespace.
func ManifestConfig(ctx context.Context, cluster *controlplane.ControlPlane) (*rest.Config, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	admin, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, file := range append([]string{"namespace.yaml"}, permissionTemplates...) {
		paths = append(paths, repopath.Path("deploy", "kustomize", "base", file))
	}
	if _, err := manifest.Apply(ctx, cluster.Config(), paths...); err != nil {
		return nil, err
	}
	return configWhenEffective(ctx, cluster, admin, ManifestNamespace, chart.Release)
}

// configWhenEffective returns the configuration of a client that runs as a ServiceAccount,
// when the API server applies its permissions and its flow control.
func configWhenEffective(ctx context.Context, cluster *controlplane.ControlPlane, admin kubernetes.Interface, namespace, name string) (*rest.Config, error) {
	config, err := cluster.ServiceAccountConfig(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	return config, waitEffective(ctx, admin, config, clusterPrefix+name)
}

// valuesOf returns the namespace and the chart's values for these flags. Only values that
// affect permissions are included.
func valuesOf(args []string) (namespace string, values []string) {
	namespace = defaultNamespace
	for _, arg := range args {
		flag, value, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		switch flag {
		case "namespace":
			namespace = value
		case "role-policy":
			values = append(values, "rolePolicy="+value)
		case "watch-config-map":
			values = append(values, "watchConfigMap=true")
		}
	}
	// The certificate comes from files, so the webhook needs no permissions for a Secret or
	// for webhook configurations.
	return namespace, append(values, "certificates.source=secret", "certificates.secretName=unused")
}

func hash(values []string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(strings.Join(values, "\n"))) // hash.Hash.Write never returns an error
	return h.Sum32()
}

func applyPermissions(ctx context.Context, cluster *controlplane.ControlPlane, namespace string, values []string) error {
	args := make([]string, 0, len(permissionTemplates)+len(values))
	for _, template := range permissionTemplates {
		args = append(args, "--show-only=templates/"+template)
	}
	for _, value := range values {
		args = append(args, "--set="+value)
	}
	rendered, err := chart.Template(ctx, namespace, args...)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "pod-identity-webhook-permissions-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	path := filepath.Join(dir, "permissions.yaml")
	if err := os.WriteFile(path, bytes.TrimSpace(rendered), 0o600); err != nil {
		return err
	}
	_, err = manifest.Apply(ctx, cluster.Config(), path)
	return err
}

// waitEffective waits until the API server applies the permissions and the FlowSchema.
func waitEffective(ctx context.Context, admin kubernetes.Interface, config *rest.Config, name string) error {
	var last error
	err := wait.PollUntilContextCancel(ctx, probeInterval, true, func(ctx context.Context) (bool, error) {
		last = controlplane.ExpectPermitted(ctx, config, authorizationv1.ResourceAttributes{Resource: "serviceaccounts", Verb: "watch"})
		if last == nil {
			last = expectFlowSchema(ctx, admin, name)
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("wait for chart's permissions: %w", last)
	}
	return nil
}

// expectFlowSchema returns an error unless the API server has found the priority level of a
// FlowSchema.
func expectFlowSchema(ctx context.Context, client kubernetes.Interface, name string) error {
	schema, err := client.FlowcontrolV1().FlowSchemas().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range schema.Status.Conditions {
		if condition.Type == flowcontrolv1.FlowSchemaConditionDangling && condition.Status == flowcontrolv1.ConditionFalse {
			return nil
		}
	}
	return fmt.Errorf("FlowSchema %s is not effective: conditions %v", name, schema.Status.Conditions)
}
