// Package chartinstall installs the chart on a control plane that has no nodes. It
// replaces the kubelet and kube-proxy with processes on loopback. The replicas run
// with the arguments in the Deployment and only the permissions of its
// ServiceAccount. The API server reaches them by the name of the Service.
package chartinstall

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// Options are the options of Install.
type Options struct {
	// Dir is an existing directory for manifests, kubeconfig and logs. The caller
	// removes it after Stop.
	Dir string
	// Binary is the webhook's file; empty means the one that make builds.
	Binary string
	// Namespace is created if it does not exist.
	Namespace string
	// Values are the values of the chart, in the form of helm's --set.
	Values []string
	// Log gets a line when a replica gets no more connections; nil is silent.
	Log io.Writer
	// Args are additional flags for every replica.
	Args []string
}

// Installation is an installation of the chart. Its methods must not be called
// concurrently, except those of its replicas.
type Installation struct {
	Namespace string
	// Deployment is the Deployment as stored.
	Deployment *appsv1.Deployment
	Replicas   []*Replica

	options      Options
	cluster      *controlplane.ControlPlane
	client       kubernetes.Interface
	objects      []*unstructured.Unstructured
	kubeconfig   string
	loadBalancer *loadBalancer
}

// Install renders and applies the chart, starts the Deployment's number of replicas, and
// waits until they are ready. If it returns an error, it has removed everything except
// the namespace.
func Install(ctx context.Context, cluster *controlplane.ControlPlane, options Options) (_ *Installation, err error) {
	i := &Installation{Namespace: options.Namespace, options: options, cluster: cluster}
	if i.options.Binary == "" {
		i.options.Binary = webhookprocess.DefaultBinary()
	}
	if i.options.Log == nil {
		i.options.Log = io.Discard
	}
	if i.client, err = kubernetes.NewForConfig(cluster.Config()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, i.Uninstall(context.WithoutCancel(ctx)))
		}
	}()
	if i.loadBalancer, err = newBalancer(ctx, i.options.Log); err != nil {
		return nil, err
	}
	if err := controlplane.CreateNamespace(ctx, i.client, i.Namespace); err != nil {
		return nil, err
	}
	if err := i.apply(ctx); err != nil {
		return nil, err
	}
	if err := i.replaceService(ctx); err != nil {
		return nil, err
	}
	if err := i.writeKubeconfig(ctx); err != nil {
		return nil, err
	}
	for n := range *i.Deployment.Spec.Replicas {
		replica, err := i.newReplica(ctx, int(n))
		if err != nil {
			return nil, err
		}
		i.Replicas = append(i.Replicas, replica)
	}
	i.loadBalancer.serve(i.Replicas...)
	return i, i.StartReplicas(ctx)
}

// StartReplicas starts all replicas at the same time. It waits until they are ready and
// the API server's connections reach them.
func (i *Installation) StartReplicas(ctx context.Context) error {
	for _, replica := range i.Replicas {
		if err := replica.Start(); err != nil {
			return err
		}
	}
	for _, replica := range i.Replicas {
		if err := replica.WaitReady(ctx); err != nil {
			return err
		}
	}
	return i.loadBalancer.waitAll(ctx)
}

// Apply applies the chart with other values, like helm upgrade. It does not change the
// running replicas.
func (i *Installation) Apply(ctx context.Context, values ...string) error {
	i.options.Values = values
	if err := i.apply(ctx); err != nil {
		return err
	}
	return i.replaceService(ctx)
}

func (i *Installation) apply(ctx context.Context) error {
	rendered, err := chart.Render(ctx, i.Namespace, append(slices.Clone(i.options.Values), "service.port="+strconv.Itoa(i.loadBalancer.port))...)
	if err != nil {
		return err
	}
	path := filepath.Join(i.options.Dir, "chart.yaml")
	if err := os.WriteFile(path, rendered, 0o600); err != nil {
		return err
	}
	if i.objects, err = manifest.Apply(ctx, i.cluster.Config(), path); err != nil {
		return err
	}
	i.Deployment, err = i.client.AppsV1().Deployments(i.Namespace).Get(ctx, chart.Release, metav1.GetOptions{})
	return err
}

// replaceService makes the Service an ExternalName for the load balancer. A ClusterIP
// does not work without kube-proxy. An API server resolves the ExternalName itself,
// but still expects the Service's own name in the certificate.
func (i *Installation) replaceService(ctx context.Context) error {
	services := i.client.CoreV1().Services(i.Namespace)
	service, err := services.Get(ctx, chart.Release, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if got := int(service.Spec.Ports[0].Port); got != i.loadBalancer.port {
		return fmt.Errorf("got port %d of the Service, want %d", got, i.loadBalancer.port)
	}
	if err := services.Delete(ctx, chart.Release, metav1.DeleteOptions{}); err != nil {
		return err
	}
	_, err = services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: chart.Release, Labels: service.Labels},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	return err
}

// writeKubeconfig writes a kubeconfig with the permissions of the ServiceAccount.
func (i *Installation) writeKubeconfig(ctx context.Context) error {
	config, err := i.cluster.ServiceAccountConfig(ctx, i.Namespace, i.Deployment.Spec.Template.Spec.ServiceAccountName)
	if err != nil {
		return err
	}
	i.kubeconfig = filepath.Join(i.options.Dir, "kubeconfig")
	return controlplane.WriteKubeconfig(i.kubeconfig, config)
}

// newReplica returns a replica with the arguments in the Deployment, except for its
// ports and its kubeconfig.
func (i *Installation) newReplica(ctx context.Context, n int) (*Replica, error) {
	replica, err := newReplica(ctx, i.options.Binary, filepath.Join(i.options.Dir, fmt.Sprintf("replica-%d.log", n)))
	if err != nil {
		return nil, err
	}
	replica.args = append(slices.Clone(i.Deployment.Spec.Template.Spec.Containers[0].Args), i.options.Args...)
	replica.args = append(replica.args,
		"--bind-address=127.0.0.1",
		"--port="+strconv.Itoa(replica.port),
		"--metrics-port="+strconv.Itoa(replica.metricsPort),
		"--kubeconfig="+i.kubeconfig,
	)
	return replica, nil
}

// Uninstall stops the replicas and deletes all applied objects and the Secret of the
// replicas.
func (i *Installation) Uninstall(ctx context.Context) error {
	for _, replica := range i.Replicas {
		replica.Kill()
	}
	if i.loadBalancer != nil {
		i.loadBalancer.close()
	}
	failed := manifest.Delete(ctx, i.cluster.Config(), i.objects)
	err := i.client.CoreV1().Secrets(i.Namespace).Delete(ctx, chart.Release, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		err = nil
	}
	return errors.Join(failed, err)
}
