// Package e2e_test tests the shipped image and chart on a complete cluster of real
// components: the one of make cluster, or a kind cluster. Applications in its pods get
// their credentials with the token that the kubelet mounts.
package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

const (
	// patience is the limit for waiting for a condition; each takes seconds on an idle machine.
	patience = 2 * time.Minute
	interval = 50 * time.Millisecond
	// application is the image of the program that prints its AWS identity.
	application = "localhost/application:dev"
	// stsPort is the port of local-sts on the node, for this machine and for pods.
	stsPort = 30480
)

// on selects the cluster of the tests.
var on = flag.String("on", "cluster", "cluster of the tests: cluster, as make cluster starts it, or kind")

// world is the cluster, shared by all tests.
var world struct {
	walkthrough.Cluster
	host   host
	client kubernetes.Interface
	config *rest.Config
	// sts is the URL of local-sts for pods, and localSTS its URL for this machine.
	sts, localSTS string
}

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runAll(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(run func() int) (code int, err error) {
	ctx := context.Background()
	host, err := newHost(*on)
	if err != nil {
		return 0, err
	}
	// A fixed directory, so that a run cleans up after one that was killed.
	dir := repopath.Path("bin", *on+"-e2e")
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return 0, fmt.Errorf("lock %s: %w; another run of these tests is in progress", lock.Name(), err)
	}
	if err := host.down(ctx, dir); err != nil {
		return 0, err
	}
	before, err := host.resources(ctx, dir)
	if err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, host.down(ctx, dir), expectNoLeaks(ctx, host, dir, before))
	}()
	if err := host.up(ctx, dir); err != nil {
		return 0, err
	}
	if err := setUp(ctx, host, dir); err != nil {
		return 0, err
	}
	return run(), nil
}

func assets() string {
	return cmp.Or(os.Getenv("KUBEBUILDER_ASSETS"), repopath.Path("bin", "assets"))
}

// setUp runs local-sts, creates its OIDC provider for the cluster's issuer, and
// installs the chart.
func setUp(ctx context.Context, host host, dir string) (err error) {
	w := &world
	w.host = host
	w.Cluster = walkthrough.Cluster{
		Images: repopath.Path("bin", "image"), Repository: os.Getenv("IMAGE"), Tag: os.Getenv("VERSION"), STS: walkthrough.LocalSTS,
		Kubectl: filepath.Join(assets(), "kubectl"), Helm: repopath.Path("bin", "helm"), Plugin: repopath.Path("bin", "kubectl-irsa"),
		Kubeconfig: filepath.Join(dir, "kubeconfig"), Out: os.Stderr,
	}
	if w.config, err = clientcmd.BuildConfigFromFlags("", w.Kubeconfig); err != nil {
		return err
	}
	w.config.QPS = -1
	if w.client, err = kubernetes.NewForConfig(w.config); err != nil {
		return err
	}
	if err := w.PublishIssuer(ctx); err != nil {
		return err
	}
	if err := w.ApplySTS(ctx); err != nil {
		return err
	}
	address, err := exposeSTS(ctx)
	if err != nil {
		return err
	}
	if w.sts, w.localSTS, err = host.prepare(ctx, address); err != nil {
		return err
	}
	if err := install(ctx); err != nil {
		return err
	}
	if err := waitInjected(ctx); err != nil {
		return err
	}
	return w.IRSA(ctx, w.localSTS, "provider", "create", "--approve")
}

// waitInjected waits until the API server calls the webhook. After helm returns, the API
// server reads the new webhook configuration, and kube-proxy makes the Service reachable.
func waitInjected(ctx context.Context) error {
	const name = "wait-injected"
	core := world.client.CoreV1()
	if _, err := core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	if _, err := core.ServiceAccounts(name).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: name, Annotations: map[string]string{roleAnnotation: "arn:aws:iam::111122223333:role/" + name},
	}}, metav1.CreateOptions{}); err != nil {
		return err
	}
	of := template(name, name)
	var last error
	err := wait.PollUntilContextTimeout(ctx, interval, patience, true, func(ctx context.Context) (bool, error) {
		var pod *corev1.Pod
		pod, last = core.Pods(name).Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: of.Spec}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return last == nil && roleOf(pod) != "", nil
	})
	if err != nil {
		return fmt.Errorf("wait until a pod is injected: %w", errors.Join(err, last))
	}
	return core.Namespaces().Delete(ctx, name, metav1.DeleteOptions{})
}

// exposeSTS exposes local-sts on the node and returns its address there.
func exposeSTS(ctx context.Context) (string, error) {
	services := world.client.CoreV1().Services(walkthrough.STSNamespace)
	service, err := services.Get(ctx, "local-sts", metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	service.Spec.Type, service.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, stsPort
	if _, err := services.Update(ctx, service, metav1.UpdateOptions{}); err != nil {
		return "", err
	}
	nodes, err := world.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, address := range nodes.Items[0].Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address, nil
		}
	}
	return "", errors.New("the node has no address")
}

// install installs or upgrades the chart with two replicas and the guard.
func install(ctx context.Context, more ...string) error {
	return world.Install(ctx, values(more...)...)
}

// values returns helm's arguments for these values.
func values(more ...string) []string {
	args := []string{
		"--set-string", "stsEndpoint=" + world.sts,
		"--set", "replicas=2,certificates.source=self,guard.enabled=true",
	}
	for _, value := range more {
		args = append(args, "--set", value)
	}
	return args
}

// admin returns an AWS configuration for the administrator of local-sts.
func admin() aws.Config {
	return aws.Config{
		Region: walkthrough.Region, BaseEndpoint: aws.String(world.localSTS),
		Credentials: credentials.NewStaticCredentialsProvider(stsprocess.AdminAccessKeyID, stsprocess.AdminSecret, ""),
	}
}

// kubectl runs kubectl and returns its standard output.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := walkthrough.Output(t.Context(), world.Kubectl, append([]string{"--kubeconfig", world.Kubeconfig}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return string(output)
}

// irsa runs kubectl irsa as the administrator of AWS. It returns its standard output
// and its exit code.
func irsa(t *testing.T, args ...string) (string, int) {
	t.Helper()
	command := world.host.irsa(t.Context(), args...)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	if stderr.Len() > 0 && args[0] == "doctor" { // other commands warn that AWS cannot read this issuer
		t.Errorf("got standard error of kubectl irsa %s %q, want none", strings.Join(args, " "), stderr.String())
	}
	return string(output), command.ProcessState.ExitCode()
}

// must runs kubectl irsa and fails the test if it fails.
func must(t *testing.T, args ...string) {
	t.Helper()
	if output, code := irsa(t, args...); code != 0 {
		t.Fatalf("kubectl irsa %s: exit code %d\n%s", strings.Join(args, " "), code, output)
	}
}

// eventually waits until condition returns nil.
func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	within(t, patience, what, condition)
}

func within(t *testing.T, patience time.Duration, what string, condition func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, interval, true, func(ctx context.Context) (bool, error) {
		last = condition(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%s: not within %s: %v", what, patience, last)
	}
}
