package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/testcerts"
)

const (
	// nodeName is the name of the only node.
	nodeName = "node"
	// readyInterval is how often waitReady checks whether the node is ready.
	readyInterval = 50 * time.Millisecond
)

// The users of the components. RBAC has default roles for them.
const (
	controllerManagerUser = "system:kube-controller-manager"
	schedulerUser         = "system:kube-scheduler"
	kubeletUser           = "system:node:" + nodeName
	proxyUser             = "system:kube-proxy"
	// dnsUser gets its role from permitDNS.
	dnsUser = "system:coredns"
)

// node is the cluster, seen from within its namespaces.
type node struct {
	*cluster
	plane *controlplane.ControlPlane
	// clientCA is the file of the CA of the API server's client certificate for the
	// kubelet. clientCertificate and clientKey are the files of that certificate.
	clientCA, clientCertificate, clientKey string
	// ended receives the error of a component that exited by itself.
	ended chan error
}

// runNode starts the components, writes the ready line, and returns when one exits.
func (c *cluster) runNode(ctx context.Context) error {
	unix.CloseOnExec(statusFile)
	status := os.NewFile(statusFile, "status")
	n := &node{cluster: c, ended: make(chan error, 1)}
	n.out = status
	if err := n.start(ctx); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(status, ready); err != nil {
		return fmt.Errorf("write ready line: %w", err)
	}
	if err := status.Close(); err != nil {
		return err
	}
	go func() { n.fail(n.plane.Wait(ctx)) }()
	return <-n.ended
}

// fail stores the first error and drops later ones.
func (n *node) fail(err error) {
	select {
	case n.ended <- err:
	default:
	}
}

func (n *node) start(ctx context.Context) error {
	began := time.Now()
	if err := mountCgroups(); err != nil {
		return err
	}
	if err := n.raiseNode(); err != nil {
		return err
	}
	for _, directory := range []string{"plane", "logs", "cni"} {
		if err := os.MkdirAll(filepath.Join(n.dir, directory), 0o700); err != nil {
			return err
		}
	}
	starts, startsCtx := errgroup.WithContext(ctx)
	starts.Go(func() error { return n.startPlane(startsCtx) })
	starts.Go(func() error { return n.startContainerd(startsCtx) })
	if err := starts.Wait(); err != nil {
		return err
	}
	if err := n.startParts(ctx); err != nil {
		return err
	}
	if err := controlplane.WriteKubeconfig(n.kubeconfig(), n.plane.RemoteConfig()); err != nil {
		return err
	}
	if err := n.waitReady(ctx); err != nil {
		return err
	}
	fmt.Fprintf(n.out, "node ready after %s\n", time.Since(began).Round(time.Millisecond))
	return nil
}

func (n *node) startPlane(ctx context.Context) (err error) {
	if err := n.writeClientCertificate(); err != nil {
		return err
	}
	n.plane, err = controlplane.Start(ctx, controlplane.Options{
		Assets: n.assets, Dir: filepath.Join(n.dir, "plane"), Log: n.out,
		// The address is part of the issuer's URL, and pods and this machine can reach it.
		Address: net.ParseIP(n.address),
		Users: []controlplane.User{
			{Name: controllerManagerUser},
			{Name: schedulerUser},
			{Name: kubeletUser, Groups: []string{"system:nodes"}},
			{Name: proxyUser},
			{Name: dnsUser},
		},
		APIServerFlags: []string{
			// Limits a kubelet to the objects of its own pods.
			"--authorization-mode=Node", "--enable-admission-plugins=NodeRestriction",
			"--kubelet-client-certificate=" + n.clientCertificate, "--kubelet-client-key=" + n.clientKey,
			"--kubelet-preferred-address-types=InternalIP",
		},
	})
	return err
}

// writeClientCertificate writes the API server's client certificate for the kubelet.
// The kubelet requires it, because its API gives root access.
func (n *node) writeClientCertificate() error {
	authority, err := testcerts.NewAuthority()
	if err != nil {
		return err
	}
	issued, err := authority.Issue(testcerts.Options{Name: "kube-apiserver"})
	if err != nil {
		return err
	}
	for name, file := range map[string]struct {
		path    *string
		content []byte
	}{
		"kubelet-client-ca.crt": {&n.clientCA, authority.PEM()},
		"kubelet-client.crt":    {&n.clientCertificate, issued.Certificate},
		"kubelet-client.key":    {&n.clientKey, issued.Key},
	} {
		*file.path = filepath.Join(n.dir, name)
		if err := os.WriteFile(*file.path, file.content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// waitReady waits until the node is ready and has no taints.
func (n *node) waitReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(n.plane.Config())
	if err != nil {
		return err
	}
	last := errors.New("the kubelet has not created the Node")
	err = wait.PollUntilContextCancel(ctx, readyInterval, true, func(ctx context.Context) (bool, error) {
		select {
		case err := <-n.ended:
			return false, err
		default:
		}
		found, err := client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err != nil {
			return false, nil //nolint:nilerr // it is not there yet, and nothing else can be wrong that would not be told elsewhere
		}
		for _, condition := range found.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				last = errors.New(condition.Message)
				// kube-controller-manager removes the taint after the node is ready.
				return condition.Status == corev1.ConditionTrue && len(found.Spec.Taints) == 0, nil
			}
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("wait until the node is ready: %w; last condition: %w", err, last)
	}
	return nil
}
