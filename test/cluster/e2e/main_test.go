// Package e2e_test runs what is shipped on a whole cluster of real parts: the image
// from the chart, on a node, and applications in pods that get their credentials by
// the token that the kubelet has mounted.
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
	// patience bounds what takes seconds on a free machine.
	patience = 2 * time.Minute
	interval = 50 * time.Millisecond
	// application is the image of the program that says who it is.
	application = "localhost/application:dev"
	// stsPort is local-sts's on the node, where this machine can reach it as pods can.
	stsPort = 30480
)

// world is the cluster that all tests share.
var world struct {
	walkthrough.Cluster
	client kubernetes.Interface
	config *rest.Config
	// sts is the URL of local-sts, for pods and for this machine.
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
	// One directory, so that what was left of a run that was killed is found.
	dir := repopath.Path("bin", "cluster-e2e")
	lock, err := os.Create(dir + ".lock")
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return 0, fmt.Errorf("lock %s: %w; these tests run already", lock.Name(), err)
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

// clusterCommand runs the program that make cluster runs, for a directory.
func clusterCommand(ctx context.Context, dir string, args ...string) error {
	return walkthrough.Run(ctx, os.Stderr, repopath.Path("bin", "cluster-up"), append([]string{"-dir=" + dir, "-assets=" + assets()}, args...)...)
}

func assets() string {
	return cmp.Or(os.Getenv("KUBEBUILDER_ASSETS"), repopath.Path("bin", "assets"))
}

// setUp runs local-sts, makes the cluster's issuer known to it, and installs the chart.
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

// exposeSTS lets this machine reach local-sts at the node, and returns its address.
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

// install installs the chart as an operator would who has two replicas and the
// guard, or brings it up to date.
func install(ctx context.Context, more ...string) error {
	return world.Install(ctx, values(more...)...)
}

// values are the arguments of helm for that.
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

// admin is the configuration of the administrator of local-sts.
func admin() aws.Config {
	return aws.Config{
		Region: walkthrough.Region, BaseEndpoint: aws.String(world.sts),
		Credentials: credentials.NewStaticCredentialsProvider(stsprocess.AdminAccessKeyID, stsprocess.AdminSecret, ""),
	}
}

// leakedResources are what clusters have on this machine: interfaces, cgroups, the
// processes in those, and mounts in a directory.
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
		// One that has ended, and for whose end nobody has asked, has no command.
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(process), "cmdline"))
		if err == nil && len(command) > 0 && strings.Contains(string(in), "pod-identity-webhook-cluster-") {
			found["process "+filepath.Dir(process)] = true
		}
	}
	return found, nil
}

// expectNoLeaks is an error if a cluster left anything that was not there before.
func expectNoLeaks(dir string, before map[string]bool) error {
	after, err := leakedResources(dir)
	if err != nil {
		return err
	}
	var left []error
	for what := range after {
		if !before[what] {
			left = append(left, fmt.Errorf("the cluster left behind: %s", what))
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		left = append(left, fmt.Errorf("the cluster left behind: directory %s: %w", dir, err))
	}
	return errors.Join(left...)
}

// kubectl runs kubectl and returns what it prints.
func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	said, err := walkthrough.Output(t.Context(), world.Kubectl, append([]string{"--kubeconfig", world.Kubeconfig}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// irsa runs the plugin as an administrator of AWS, and returns what it prints and
// its exit code.
func irsa(t *testing.T, args ...string) (string, int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), world.Plugin, append([]string{"--kubeconfig", world.Kubeconfig}, args...)...)
	command.Env = world.Environment(world.sts)
	var complains bytes.Buffer
	command.Stderr = &complains
	said, err := command.Output()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	if complains.Len() > 0 && args[0] == "doctor" { // the others warn that AWS could not read this issuer
		t.Errorf("kubectl irsa %s writes to its standard error: %s", strings.Join(args, " "), complains.String())
	}
	return string(said), command.ProcessState.ExitCode()
}

// must runs the plugin, which has to succeed.
func must(t *testing.T, args ...string) {
	t.Helper()
	if said, code := irsa(t, args...); code != 0 {
		t.Fatalf("kubectl irsa %s: exit code %d\n%s", strings.Join(args, " "), code, said)
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
