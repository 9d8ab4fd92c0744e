package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/cluster/testimage"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

const (
	// partTimeout is the limit for the start of the components, which takes a few seconds.
	partTimeout = 2 * time.Minute
	// probeTimeout is the limit for one health check.
	probeTimeout = 5 * time.Second
	// containerdSocket is containerd's default socket, in the node's own /run.
	containerdSocket = "/run/containerd/containerd.sock"
)

// component is a program of the cluster.
type component struct {
	path string
	args []string
	// user is the user of its kubeconfig, and configuration the template of its
	// configuration file. Each is empty if it has none.
	user, configuration string
	// health is the URL of its health check.
	health string
}

// startParts starts the components that need the API server.
func (n *node) startParts(ctx context.Context) error {
	if err := n.permitDNS(ctx); err != nil {
		return err
	}
	// Start all of them before waiting: none needs another to start.
	started := make([]*process.Process, 0)
	parts := n.components()
	for _, p := range parts {
		process, err := n.startPart(p)
		if err != nil {
			return err
		}
		started = append(started, process)
	}
	for i, p := range parts {
		if err := waitHealthy(ctx, started[i], p.health); err != nil {
			return err
		}
	}
	return nil
}

func (n *node) components() []component {
	return []component{
		{
			path: filepath.Join(n.assets, "kube-controller-manager"), user: controllerManagerUser,
			args: []string{
				"--kubeconfig=" + n.file("kube-controller-manager", "kubeconfig"),
				"--bind-address=127.0.0.1", "--leader-elect=false", "--cert-dir=" + n.file("kube-controller-manager", "certs"),
				"--service-account-private-key-file=" + n.plane.SigningKey(),
				"--root-ca-file=" + n.file("kube-controller-manager", "ca.crt"),
				"--use-service-account-credentials",
				// It requests a token per controller when it starts. Its default rate limit
				// would delay that.
				"--kube-api-qps=200", "--kube-api-burst=400",
			},
			health: "https://127.0.0.1:10257/healthz",
		},
		{
			path: filepath.Join(n.assets, "kube-scheduler"), user: schedulerUser,
			args: []string{
				"--kubeconfig=" + n.file("kube-scheduler", "kubeconfig"),
				"--bind-address=127.0.0.1", "--leader-elect=false", "--cert-dir=" + n.file("kube-scheduler", "certs"),
			},
			health: "https://127.0.0.1:10259/healthz",
		},
		{
			path: filepath.Join(n.assets, "kubelet"), user: kubeletUser, configuration: kubeletConfiguration,
			args: []string{
				"--config=" + n.file("kubelet", "config"), "--kubeconfig=" + n.file("kubelet", "kubeconfig"),
				"--hostname-override=" + nodeName, "--node-ip=" + n.address,
			},
			health: "http://127.0.0.1:10248/healthz",
		},
		{
			path: filepath.Join(n.assets, "kube-proxy"), user: proxyUser, configuration: proxyConfiguration,
			args:   []string{"--config=" + n.file("kube-proxy", "config")},
			health: "http://127.0.0.1:10256/healthz",
		},
		{
			path: filepath.Join(n.plugins, "coredns"), user: dnsUser, configuration: dnsConfiguration,
			args:   []string{"-conf", n.file("coredns", "config")},
			health: "http://127.0.0.1:8181/ready",
		},
	}
}

// file returns the path of a component's file.
func (n *node) file(name, kind string) string {
	return filepath.Join(n.dir, "parts", name, kind)
}

// startPart writes the files of a component and starts it. If it exits, the
// cluster stops.
func (n *node) startPart(p component) (*process.Process, error) {
	name := filepath.Base(p.path)
	if err := os.MkdirAll(n.file(name, ""), 0o700); err != nil {
		return nil, err
	}
	if p.user != "" {
		if err := controlplane.WriteKubeconfig(n.file(name, "kubeconfig"), n.plane.ConfigOf(p.user)); err != nil {
			return nil, err
		}
		if err := os.WriteFile(n.file(name, "ca.crt"), n.plane.CABundle(), 0o600); err != nil {
			return nil, err
		}
	}
	if err := n.configure(name, p.configuration); err != nil {
		return nil, err
	}
	started, err := process.Start(process.Command{Path: p.path, Args: p.args, Log: filepath.Join(n.dir, "logs", name+".log")})
	if err != nil {
		return nil, err
	}
	go func() { n.fail(started.UnexpectedEnd()) }()
	return started, nil
}

// configure writes the configuration file of a component, if it has one.
func (n *node) configure(name, configuration string) error {
	if configuration == "" {
		return nil
	}
	parsed, err := template.New(name).Parse(configuration)
	if err != nil {
		return err
	}
	var written bytes.Buffer
	if err := parsed.Execute(&written, map[string]string{
		"Address": n.address, "Dir": n.dir, "Plugins": n.plugins, "ClientCA": n.clientCA, "Kubeconfig": n.file(name, "kubeconfig"),
		"Containerd": containerdSocket, "Pause": testimage.Pause, "PodRange": podRange, "Node": nodeName,
	}); err != nil {
		return fmt.Errorf("write configuration of %s: %w", name, err)
	}
	return os.WriteFile(n.file(name, "config"), written.Bytes(), 0o600)
}

// waitHealthy waits until a component's health check succeeds.
func waitHealthy(ctx context.Context, started *process.Process, url string) error {
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	client := &http.Client{
		Timeout: probeTimeout,
		// Each component has a self-signed certificate, on the loopback interface.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, //nolint:gosec // a health check sends no secrets
	}
	defer client.CloseIdleConnections()
	return started.WaitReady(ctx, func(ctx context.Context) error { return process.ExpectOK(ctx, client, url) })
}

// permitDNS lets CoreDNS read the objects that it resolves.
func (n *node) permitDNS(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(n.plane.Config())
	if err != nil {
		return err
	}
	// Not the ClusterRole view: it is empty until kube-controller-manager aggregates it.
	sees := []string{"list", "watch"}
	if _, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: dnsUser},
		Rules: []rbacv1.PolicyRule{
			{Verbs: sees, APIGroups: []string{""}, Resources: []string{"namespaces", "services", "pods"}},
			{Verbs: sees, APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}},
		},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create ClusterRole of %s: %w", dnsUser, err)
	}
	if _, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: dnsUser},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: dnsUser},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: dnsUser}},
	}, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create ClusterRoleBinding of %s: %w", dnsUser, err)
	}
	return nil
}

// startContainerd starts containerd and imports the pause image and the test images.
func (n *node) startContainerd(ctx context.Context) error {
	path, err := exec.LookPath("containerd")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.dir, "cni", "10-pods.conflist"), []byte(cniConfiguration), 0o600); err != nil {
		return err
	}
	started, err := n.startPart(component{path: path, args: []string{"--config=" + n.file("containerd", "config")}, configuration: containerdConfiguration})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, partTimeout)
	defer cancel()
	if err := started.WaitReady(ctx, func(ctx context.Context) error { return ctr(ctx, containerdSocket, "version") }); err != nil {
		return err
	}
	return n.importTestImages(ctx)
}
