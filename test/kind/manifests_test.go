package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/cert"
	"sigs.k8s.io/yaml"

	testplane "github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// kubectl and the API server are real. The API server enforces the restricted Pod
// Security Standard in the namespaces with its label.
func TestManifests_restrictedPodSecurity(t *testing.T) {
	plane, client := startPlane(t, testplane.Options{})
	var out bytes.Buffer
	c := &walkthrough.Cluster{Kubectl: filepath.Join(testplane.DefaultAssets(), "kubectl"), Kubeconfig: plane.Kubeconfig(), Out: &out}
	for _, path := range []string{"local-sts", "kind/whoami-namespace.yaml", "kind/whoami-job.yaml", "local-sts"} {
		if err := c.Apply(t.Context(), repopath.Path("deploy", filepath.FromSlash(path))); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
	}
	deployment, err := client.AppsV1().Deployments(walkthrough.STSNamespace).Get(t.Context(), "local-sts", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	job, err := client.BatchV1().Jobs(walkthrough.WhoAmI).Get(t.Context(), walkthrough.WhoAmI, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: walkthrough.WhoAmI}} // kubectl irsa creates it
	if _, err := client.CoreV1().ServiceAccounts(walkthrough.WhoAmI).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for namespace, template := range map[string]corev1.PodTemplateSpec{walkthrough.STSNamespace: deployment.Spec.Template, walkthrough.WhoAmI: job.Spec.Template} {
		create := func(ctx context.Context) error {
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "pod", Labels: template.Labels}, Spec: template.Spec}
			_, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
		if err := create(t.Context()); err != nil {
			t.Errorf("%s: %v", namespace, err)
		}
		if template.Spec.AutomountServiceAccountToken == nil || *template.Spec.AutomountServiceAccountToken {
			t.Errorf("%s: automountServiceAccountToken is not false", namespace)
		}
		template.Spec.Containers[0].SecurityContext = nil
		if err := create(t.Context()); err == nil || !strings.Contains(err.Error(), "restricted") {
			t.Errorf("%s: got %v, want a denial by the restricted Pod Security Standard", namespace, err)
		}
	}
	for selector, template := range map[string]corev1.PodTemplateSpec{walkthrough.STSSelector: deployment.Spec.Template, walkthrough.WhoAmISelector: job.Spec.Template} {
		if wanted, err := labels.Parse(selector); err != nil || !wanted.Matches(labels.Set(template.Labels)) {
			t.Errorf("pod labels %v do not match the selector %s of kind-up (%v)", template.Labels, selector, err)
		}
	}

	service, err := client.CoreV1().Services(walkthrough.STSNamespace).Get(t.Context(), "local-sts", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(service.Spec.Selector, deployment.Spec.Template.Labels) {
		t.Errorf("got Service selector %v, want the pod labels %v", service.Spec.Selector, deployment.Spec.Template.Labels)
	}
	port := deployment.Spec.Template.Spec.Containers[0].Ports[0]
	if got := service.Spec.Ports[0]; got.TargetPort.StrVal != port.Name || !strings.HasSuffix(walkthrough.STSURL, ":7480") || got.Port != 7480 || port.ContainerPort != 7480 {
		t.Errorf("Service port %+v, container port %+v and STS URL %s do not match", got, port, walkthrough.STSURL)
	}
}

func TestManifests_image(t *testing.T) {
	makefile, err := os.ReadFile(repopath.Path("Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(makefile), "\nLOCAL_STS_IMAGE := ")
	built, _, found := strings.Cut(rest, "\n")
	if !found {
		t.Fatal("the Makefile has no variable LOCAL_STS_IMAGE")
	}
	for _, file := range []string{"deploy/local-sts/local-sts.yaml", "deploy/kind/whoami-job.yaml"} {
		content, err := os.ReadFile(repopath.Path(filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), " image: "+built+"\n") {
			t.Errorf("%s does not contain image %s", file, built)
		}
	}
}

// The test changes the directory of the files and the port, and no other flag.
func TestManifests_localSTSFlags(t *testing.T) {
	content, err := os.ReadFile(repopath.Path("deploy", "local-sts", "local-sts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	for document := range strings.SplitSeq(string(content), "\n---\n") {
		var object appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &object); err == nil && object.Kind == "Deployment" {
			deployment = object
		}
	}
	if len(deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("got Deployment %+v, want one container", deployment)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), certificateAuthority(t), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := freeport.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, arg := range container.Args {
		for _, mount := range container.VolumeMounts {
			arg = strings.ReplaceAll(arg, mount.MountPath+"/", dir+"/")
		}
		args = append(args, strings.ReplaceAll(arg, ":"+walkthrough.STSPort, ":"+strconv.Itoa(port)))
	}
	log := filepath.Join(dir, "log")
	started, err := process.Start(process.Command{Path: binary("LOCAL_STS", "local-sts"), Args: args, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer started.Kill()
	for _, probe := range []*corev1.Probe{container.ReadinessProbe, container.LivenessProbe} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := started.WaitReady(ctx, func(ctx context.Context) error {
			return process.ExpectOK(ctx, http.DefaultClient, "http://"+freeport.Address(port)+probe.HTTPGet.Path)
		}); err != nil {
			content, _ := os.ReadFile(log)
			t.Fatalf("%v\n%s", err, content)
		}
	}
}

func certificateAuthority(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "kubernetes"}, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Raw})
}
