// Package e2e_test tests the shipped image and chart on a complete cluster of real
// components. Applications in its pods get their credentials with the token that
// the kubelet mounts.
package e2e_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
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

// world is the cluster, shared by all tests.
var world struct {
	walkthrough.Cluster
	client kubernetes.Interface
	config *rest.Config
	// sts is the URL of local-sts, for pods and this machine.
	sts string
}

func TestMain(m *testing.M) {
	code, err := runAll(m.Run)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runAll(run func() int) (code int, err error) {
	ctx := context.Background()
	// A fixed directory, so that a run cleans up after one that was killed.
	dir := repopath.Path("bin", "cluster-e2e")
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return 0, fmt.Errorf("lock %s: %w; another run of these tests is in progress", lock.Name(), err)
	}
	before, err := leakedResources(dir)
	if err != nil {
		return 0, err
	}
	if err := clusterCommand(ctx, dir, "down"); err != nil {
		return 0, err
	}
	if err := clusterCommand(ctx, dir, "up"); err != nil {
		return 0, err
	}
	defer func() {
		err = errors.Join(err, clusterCommand(ctx, dir, "down"), expectNoLeaks(dir, before))
	}()
	if err := setUp(ctx, dir); err != nil {
		return 0, err
	}
	return run(), nil
}

// clusterCommand runs the program of make cluster with a directory.
func clusterCommand(ctx context.Context, dir string, args ...string) error {
	return walkthrough.Run(ctx, os.Stderr, repopath.Path("bin", "cluster-up"), append([]string{"-dir=" + dir, "-assets=" + assets()}, args...)...)
}

func assets() string {
	return cmp.Or(os.Getenv("KUBEBUILDER_ASSETS"), repopath.Path("bin", "assets"))
}

// setUp runs local-sts, creates its OIDC provider for the cluster's issuer, and
// installs the chart.
func setUp(ctx context.Context, dir string) (err error) {
	w := &world
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
	if err := w.ApplySTS(ctx); err != nil {
		return err
	}
	address, err := exposeSTS(ctx)
	if err != nil {
		return err
	}
	w.sts = fmt.Sprintf("http://%s:%d", address, stsPort)
	if err := install(ctx); err != nil {
		return err
	}
	return w.IRSA(ctx, w.sts, "provider", "create", "--approve")
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
		Region: walkthrough.Region, BaseEndpoint: aws.String(world.sts),
		Credentials: credentials.NewStaticCredentialsProvider(stsprocess.AdminAccessKeyID, stsprocess.AdminSecret, ""),
	}
}

// leakedResources returns the resources of all clusters on this machine: interfaces,
// cgroups, the processes in them, and mounts below dir.
func leakedResources(dir string) (map[string]bool, error) {
	found := map[string]bool{}
	links, err := netlink.LinkList()
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		if strings.HasPrefix(link.Attrs().Name, "irsa-") {
			found["interface "+link.Attrs().Name] = true
		}
	}
	mounts, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, err
	}
	for _, mount := range mounts {
		if strings.HasPrefix(mount.Mountpoint, dir) {
			found["mount "+mount.Mountpoint] = true
		}
		if !strings.HasPrefix(mount.FSType, "cgroup") {
			continue
		}
		cgroups, err := fs.Glob(os.DirFS(mount.Mountpoint), "pod-identity-webhook-cluster-*")
		if err != nil {
			return nil, err
		}
		for _, cgroup := range cgroups {
			found["cgroup "+filepath.Join(mount.Mountpoint, cgroup)] = true
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	for _, process := range processes {
		in, err := os.ReadFile(process)
		// A zombie process has no command line.
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(process), "cmdline"))
		if err == nil && len(command) > 0 && strings.Contains(string(in), "pod-identity-webhook-cluster-") {
			found["process "+filepath.Dir(process)] = true
		}
	}
	return found, nil
}

// expectNoLeaks returns an error if there are resources that are not in before, or
// if dir exists.
func expectNoLeaks(dir string, before map[string]bool) error {
	after, err := leakedResources(dir)
	if err != nil {
		return err
	}
	var left []error
	for what := range after {
		if !before[what] {
			left = append(left, fmt.Errorf("leaked resource: %s", what))
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		left = append(left, fmt.Errorf("leaked directory %s: %w", dir, err))
	}
	return errors.Join(left...)
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
	command := exec.CommandContext(t.Context(), world.Plugin, append([]string{"--kubeconfig", world.Kubeconfig}, args...)...)
	command.Env = world.Environment(world.sts)
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
