package upgrade_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chartinstall"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

// version is a chart and a program that can be installed.
type version struct{ chart, binary string }

// release is a release of Helm. A Workload replaces the cluster's controllers and nodes.
type release struct {
	t               *testing.T
	client          kubernetes.Interface
	namespace, name string
	values          []string
	workload        *chartinstall.Workload
	kubeconfig, dir string
}

// install installs a version with helm and starts its replicas. All later versions get the
// same values.
func install(t *testing.T, client kubernetes.Interface, name string, v version, values ...string) *release {
	t.Helper()
	r := &release{t: t, client: client, name: name, namespace: name, dir: t.TempDir()}
	var err error
	if r.workload, err = chartinstall.NewWorkload(t.Context(), t.Output()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.workload.Close)
	r.values = append([]string{"service.port=" + strconv.Itoa(r.workload.Port())}, values...)
	r.helm("install", v.chart, "--create-namespace")
	t.Cleanup(func() {
		if output, err := r.run(context.WithoutCancel(t.Context()), "uninstall", r.name); err != nil {
			t.Errorf("helm uninstall: %v\n%s", err, output)
		}
	})
	// An API server resolves an ExternalName itself, but still expects the Service's own name
	// in the certificate.
	_, err = client.CoreV1().Services(r.namespace).Patch(t.Context(), r.deployment().Name, types.MergePatchType, []byte(
		`{"spec":{"type":"ExternalName","externalName":"localhost","clusterIP":null,"clusterIPs":null,"ipFamilies":null,"ipFamilyPolicy":null,"internalTrafficPolicy":null}}`),
		metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.kubeconfig = writeKubeconfig(t, client, r.namespace, r.deployment().Spec.Template.Spec.ServiceAccountName)
	r.rollOut(v, func() error { return nil })
	return r
}

// helm runs helm install or upgrade. It does not replace processes.
func (r *release) helm(verb, chart string, args ...string) {
	r.t.Helper()
	args = append([]string{verb, r.name, chart}, args...)
	for _, value := range r.values {
		args = append(args, "--set", value)
	}
	if output, err := r.run(r.t.Context(), args...); err != nil {
		r.t.Fatalf("helm %s: %v\n%s", verb, err, output)
	}
}

func (r *release) run(ctx context.Context, args ...string) (string, error) {
	args = append(args, "--namespace="+r.namespace, "--kubeconfig="+cluster.Kubeconfig())
	command := exec.CommandContext(ctx, file(r.t, "HELM"), args...)
	command.Env = append(command.Environ(), "HELM_CACHE_HOME="+r.dir, "HELM_CONFIG_HOME="+r.dir, "HELM_DATA_HOME="+r.dir)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	err := command.Run()
	return output.String(), err
}

// deployment returns the only Deployment of the release.
func (r *release) deployment() *appsv1.Deployment {
	r.t.Helper()
	found, err := r.client.AppsV1().Deployments(r.namespace).List(r.t.Context(), metav1.ListOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	if len(found.Items) != 1 {
		r.t.Fatalf("got %d Deployments, want 1", len(found.Items))
	}
	return &found.Items[0]
}

// rollOut replaces the replicas with replicas of the current Deployment. between is called in
// each intermediate state.
func (r *release) rollOut(v version, between func() error) {
	r.t.Helper()
	deployment := r.deployment()
	err := r.workload.Rollout(r.t.Context(), chartinstall.Template{
		Binary: v.binary, Log: filepath.Join(r.dir, filepath.Base(filepath.Dir(v.binary))+".log"),
		Replicas: int(*deployment.Spec.Replicas),
		Args: append(slices.Clone(deployment.Spec.Template.Spec.Containers[0].Args),
			"--bind-address=127.0.0.1", "--kubeconfig="+r.kubeconfig),
	}, between)
	if err != nil {
		r.t.Fatal(err)
	}
}

// secretName returns the Secret in the Deployment's flags.
func (r *release) secretName() string {
	r.t.Helper()
	for _, arg := range r.deployment().Spec.Template.Spec.Containers[0].Args {
		if name, ok := strings.CutPrefix(arg, "--tls-secret="); ok {
			return name
		}
	}
	r.t.Fatal("the Deployment has no flag with the Secret")
	return ""
}

// writeKubeconfig writes a kubeconfig with the permissions of a ServiceAccount.
func writeKubeconfig(t *testing.T, client kubernetes.Interface, namespace, account string) string {
	t.Helper()
	const lifetime = 24 * 3600 // in seconds, longer than any test
	token, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(lifetime))},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(fmt.Errorf("request token for ServiceAccount %s/%s: %w", namespace, account, err))
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	config := rest.CopyConfig(cluster.Config())
	config.BearerToken = token.Status.Token
	if err := controlplane.WriteKubeconfig(path, config); err != nil {
		t.Fatal(err)
	}
	return path
}
