package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	testplane "github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/walkthrough"
)

// standIns are the only programs in the PATH: fake programs that log their
// arguments and print the file NAME.prints. They fail with the message in the file
// NAME.fails, or NAME-COMMAND.fails for one of their commands. With them the tests check
// the order of the commands and the output.
type standIns struct{ dir string }

func newStandIns(t *testing.T, names ...string) standIns {
	t.Helper()
	s := standIns{dir: t.TempDir()}
	const script = `#!/bin/sh
dir=${0%/*} name=${0##*/}
echo "$name $*" >> "$dir/calls"
for file in "$name" "$name-$1"; do
	if test -e "$dir/$file.fails"; then read -r why < "$dir/$file.fails"; echo "$why" >&2; exit 1; fi
done
case "$*" in *discovery*|*openid*) name=discovery ;; *port-forward*) name=port-forward ;; *" logs "*) name=logs ;; esac
if test -e "$dir/$name.prints"; then while read -r line; do echo "$line"; done < "$dir/$name.prints"; fi
`
	for _, name := range names {
		s.write(t, name, script)
	}
	t.Setenv("PATH", s.dir)
	t.Setenv("KIND_EXPERIMENTAL_PROVIDER", "") // Select sets it
	return s
}

func (s standIns) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

// prints makes the program print a list of pods.
func (s standIns) prints(t *testing.T, name string, pods ...corev1.Pod) {
	t.Helper()
	list, err := json.Marshal(corev1.PodList{Items: pods})
	if err != nil {
		t.Fatal(err)
	}
	s.write(t, name+".prints", string(list)+"\n")
}

// calls returns the logged commands with their arguments, without the path of
// the repository.
func (s standIns) calls(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, "calls"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(strings.ReplaceAll(string(content), repopath.Path()+"/", "")), "\n")
}

func (s standIns) cluster(t *testing.T, out *bytes.Buffer) *cluster {
	t.Helper()
	if err := os.Mkdir(filepath.Join(s.dir, "pod-identity-webhook"), 0o700); err != nil {
		t.Fatal(err)
	}
	s.write(t, "pod-identity-webhook/digest", "sha256:0123\n")
	return &cluster{Cluster: walkthrough.Cluster{
		Images: s.dir, Repository: "localhost/pod-identity-webhook", Tag: "v1", STS: walkthrough.LocalSTS, Out: out,
		Kubectl: filepath.Join(s.dir, "kubectl"), Helm: filepath.Join(s.dir, "helm"), Plugin: filepath.Join(s.dir, "kubectl-irsa"),
		Kubeconfig: filepath.Join(s.dir, "kubeconfig"),
	}, name: "pod-identity-webhook", configuration: repopath.Path("deploy", "kind", "cluster.yaml"), kind: filepath.Join(s.dir, "kind"), builtNodeImage: builtImage}
}

// builtImage is the name of the node image of make kind-image.
const builtImage = "localhost/kind-node:1.37"

func TestCheck(t *testing.T) {
	const daemonStopped = "Cannot connect to the Docker daemon"
	for name, test := range map[string]struct {
		have     []string
		provider string
		fails    map[string]string
		// prints is the output of podman.
		prints string
		want   []string
		not    []string
	}{
		"docker":                                 {have: []string{"docker"}},
		"podman":                                 {have: []string{"podman"}},
		"docker's daemon is stopped, and podman": {have: []string{"docker", "podman"}, fails: map[string]string{"docker-version": daemonStopped}},
		"no engine": {
			want: []string{"docker is missing", "https://docs.docker.com", "podman is missing", "https://podman.io", "make demo"},
		},
		"docker's daemon is stopped, and no podman": {
			have: []string{"docker"}, fails: map[string]string{"docker-version": daemonStopped},
			want: []string{"docker does not respond", "systemctl start docker", daemonStopped, "podman is missing"}, not: []string{"docker is missing"},
		},
		"podman does not respond": {
			have: []string{"podman"}, provider: "podman", fails: map[string]string{"podman-info": "cannot connect to podman"},
			want: []string{"podman does not respond", "podman machine start", "cannot connect to podman"}, not: []string{"docker"},
		},
		"podman has no root and no cgroup v2": {
			have: []string{"podman"}, prints: `{"host":{"cgroupVersion":"v1","security":{"rootless":true}}}`,
			want: []string{"cgroup v1", "run make as root"},
		},
		"podman has no root, but cgroup v2": {have: []string{"podman"}, prints: `{"host":{"cgroupVersion":"v2","security":{"rootless":true}}}`},
		"podman has root, and cgroup v1":    {have: []string{"podman"}, prints: `{"host":{"cgroupVersion":"v1","security":{"rootless":false}}}`},
		"the chosen engine is missing": {
			have: []string{"docker"}, provider: "podman",
			want: []string{"podman is missing"}, not: []string{"docker"},
		},
		"an unknown engine": {
			have: []string{"docker"}, provider: "rkt",
			want: []string{`KIND_EXPERIMENTAL_PROVIDER is "rkt", want docker or podman`},
		},
		"the published image cannot be pulled": {
			have: []string{"podman"}, fails: map[string]string{"podman-image": "no such image", "podman-pull": "no such host"},
			want: []string{"podman pull docker.io/kindest/node@sha256:", "make kind-image"},
		},
		"resource limits are restricted": {
			have: []string{"podman"}, fails: map[string]string{"podman-run": "runc: error setting rlimit type 7: operation not permitted"},
			want: []string{"error setting rlimit", "/etc/containers/containers.conf", `default_ulimits = ["nofile=`},
		},
		"/lib/modules is missing": {
			have: []string{"podman"}, fails: map[string]string{"podman-run": "Error: statfs /lib/modules: no such file or directory"},
			want: []string{"statfs /lib/modules", "mkdir -p /lib/modules"},
		},
		"iptables is missing": {
			have: []string{"podman"}, fails: map[string]string{"podman-run": "Error: netavark: No such file or directory (os error 2)"},
			want: []string{"netavark: No such file", "apt-get install netavark aardvark-dns iptables"},
		},
		"containers are not permitted": {
			have: []string{"podman"}, fails: map[string]string{"podman-run": "operation not permitted"},
			want: []string{"podman run --rm --privileged", "operation not permitted"}, not: []string{"mkdir", "containers.conf"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIns(t, test.have...)
			t.Setenv("KIND_EXPERIMENTAL_PROVIDER", test.provider)
			for command, message := range test.fails {
				s.write(t, command+".fails", message+"\n")
			}
			s.write(t, "podman.prints", test.prints+"\n")
			err := realMain(t.Context(), []string{"check"}, &bytes.Buffer{})
			if test.want == nil {
				if err != nil {
					t.Fatalf("got %v", err)
				}
				if got, want := os.Getenv("KIND_EXPERIMENTAL_PROVIDER"), test.have[len(test.have)-1]; got != want {
					t.Errorf("got engine %q for kind, want %q", got, want)
				}
				return
			}
			if err == nil {
				t.Fatal("got no error")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want %q in it", err, want)
				}
			}
			for _, not := range test.not {
				if strings.Contains(err.Error(), not) {
					t.Errorf("got %q, want no %q in it", err, not)
				}
			}
		})
	}
}

func TestNodeImage(t *testing.T) {
	for name, test := range map[string]struct {
		chosen string
		exists bool
		want   string
	}{
		"chosen":    {chosen: "kindest/node:v1.34.0", exists: true, want: "kindest/node:v1.34.0"},
		"built":     {exists: true, want: builtImage},
		"published": {want: published()},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIns(t, "podman")
			if !test.exists {
				s.write(t, "podman-image.fails", "no such image\n")
			}
			c := s.cluster(t, &bytes.Buffer{})
			c.nodeImage = test.chosen
			if err := c.prepare(t.Context()); err != nil || c.nodeImage != test.want {
				t.Fatalf("got image %q (%v), want %q", c.nodeImage, err, test.want)
			}
			if pulled := slices.Contains(s.calls(t), "podman pull "+test.want); pulled == test.exists {
				t.Errorf("got image pulled: %t, want %t", pulled, !test.exists)
			}
		})
	}
}

const dockerVersion = "docker version --format {{.Server.Version}}"

func TestUp_missingTools(t *testing.T) {
	s := newStandIns(t, "docker", "kubectl", "helm", "kind")
	s.write(t, "docker.fails", "Cannot connect to the Docker daemon\n")
	c := s.cluster(t, &bytes.Buffer{})
	for _, verb := range []func(context.Context) error{c.up, c.down} {
		if err := verb(t.Context()); err == nil {
			t.Error("got no error")
		}
	}
	for _, call := range s.calls(t) {
		if call != dockerVersion {
			t.Errorf("got command %s, want none after the check", call)
		}
	}
}

func TestUp_order(t *testing.T) {
	const (
		kubectl = "kubectl --kubeconfig KUBECONFIG"
		apply   = kubectl + " apply --server-side --force-conflicts --validate=strict -f "
		load    = "kind load image-archive DIR/%[1]s/%[1]s.tar --name pod-identity-webhook"
		helm    = "helm --kubeconfig KUBECONFIG upgrade --install pod-identity-webhook deploy/helm/pod-identity-webhook" +
			" --namespace pod-identity-webhook --create-namespace --wait --timeout 3m" +
			" --set-string image.repository=localhost/pod-identity-webhook --set-string image.tag=v1" +
			" --set-string image.pullPolicy=Never --set-string podAnnotations.imageDigest=sha256:0123"
	)
	create := []string{"kind create cluster --name pod-identity-webhook --image " + builtImage + " --config deploy/kind/cluster.yaml --kubeconfig KUBECONFIG --wait 3m"}
	export := []string{"kind export kubeconfig --name pod-identity-webhook --kubeconfig KUBECONFIG"}
	installWithSTS := []string{helm + " --set-string stsEndpoint=http://local-sts.local-sts.svc:7480 --set-string awsRegion=us-east-1"}
	const ofSTS, ofWhoAmI = "--namespace local-sts --selector app.kubernetes.io/name=local-sts", "--namespace whoami --selector app.kubernetes.io/name=whoami"
	runSTS := []string{
		fmt.Sprintf(load, "local-sts"),
		kubectl + " delete pods " + ofSTS + " --ignore-not-found",
		apply + "deploy/local-sts",
		kubectl + " wait pods " + ofSTS + " --for=create --for=condition=Ready --timeout=2m",
		apply + "deploy/kind/whoami-namespace.yaml",
		kubectl + " --namespace local-sts port-forward --address 127.0.0.1 service/local-sts :7480",
		"kubectl-irsa --kubeconfig KUBECONFIG provider create --approve",
		"kubectl-irsa --kubeconfig KUBECONFIG serviceaccount create whoami --namespace whoami --role-name whoami --approve",
		kubectl + " delete job whoami --namespace whoami --ignore-not-found --cascade=foreground",
		apply + "deploy/kind/whoami-job.yaml",
		kubectl + " wait pods " + ofWhoAmI + " --for=create --for=jsonpath={.status.containerStatuses[0].state.terminated} --timeout=2m",
	}
	showWhoAmI := []string{
		kubectl + " --namespace whoami get pods --selector app.kubernetes.io/name=whoami --output json",
		kubectl + " --namespace whoami logs cloudwatch-agent-x", // the only pod that the fake kubectl returns
	}
	for name, test := range map[string]struct {
		clusters                        string
		sts                             walkthrough.STS
		create, install, runSTS, whoami []string
	}{
		"with a new cluster":          {"another\n", walkthrough.LocalSTS, create, installWithSTS, runSTS, showWhoAmI},
		"with an existing cluster":    {"another\npod-identity-webhook\n", walkthrough.LocalSTS, export, installWithSTS, runSTS, showWhoAmI},
		"with one of a longer name":   {"pod-identity-webhook-2\n", walkthrough.LocalSTS, create, installWithSTS, runSTS, showWhoAmI},
		"with no cluster of any name": {"", walkthrough.LocalSTS, create, installWithSTS, runSTS, showWhoAmI},
		"with AWS's own STS":          {"", walkthrough.AWSSTS, create, []string{helm}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStandIns(t, "docker", "kind", "kubectl", "helm", "kubectl-irsa")
			s.write(t, "kind.prints", test.clusters)
			s.prints(t, "kubectl", injected())
			s.write(t, "discovery.prints", `{"issuer":"https://issuer","jwks_uri":"https://issuer/keys"}`+"\n")
			s.write(t, "port-forward.prints", "Forwarding from 127.0.0.1:40123 -> 7480\n")
			s.write(t, "logs.prints", "the role of "+name+"\n")
			var out bytes.Buffer
			c := s.cluster(t, &out)
			c.STS = test.sts
			if err := c.up(t.Context()); err != nil {
				t.Fatalf("%v\n%s", err, out.String())
			}
			want := slices.Concat([]string{
				dockerVersion,
				"docker image inspect " + builtImage, // chooses the image
				"docker image inspect " + builtImage, // decides whether to pull it
				"docker run --rm --privileged --cgroupns=private --tmpfs=/tmp --tmpfs=/run --volume=/lib/modules:/lib/modules:ro --entrypoint=true " + builtImage,
				"kind get clusters",
			}, test.create, []string{fmt.Sprintf(load, "pod-identity-webhook")}, test.install, []string{
				apply + "deploy/kind/issuer-discovery.yaml",
			}, test.runSTS, []string{
				kubectl + " delete pods --namespace amazon-cloudwatch --selector name=cloudwatch-agent --ignore-not-found",
				apply + "examples/cloudwatch-agent/namespace.yaml",
				apply + "examples/cloudwatch-agent",
				kubectl + " wait pods --namespace amazon-cloudwatch --selector name=cloudwatch-agent --for=create --for=condition=PodScheduled --timeout=2m",
				kubectl + " --namespace amazon-cloudwatch get pods --selector name=cloudwatch-agent --output json",
				kubectl + " get --raw /.well-known/openid-configuration",
			}, test.whoami)
			var got []string
			for _, call := range s.calls(t) {
				call = strings.ReplaceAll(call, filepath.Join(s.dir, "kubeconfig"), "KUBECONFIG")
				got = append(got, strings.ReplaceAll(call, s.dir, "DIR"))
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
			}
			wantOutput := []string{"https://issuer/keys", "make kind-down"}
			if test.sts == walkthrough.LocalSTS {
				wantOutput = append(wantOutput, "with an AWS SDK:\n  the role of "+name+"\n")
			}
			for _, want := range wantOutput {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in:\n%s", want, out.String())
				}
			}
		})
	}
}

func TestUp_stopsOnError(t *testing.T) {
	s := newStandIns(t, "docker", "kind", "kubectl", "helm")
	s.write(t, "helm.fails", "timed out\n")
	var out bytes.Buffer
	err := s.cluster(t, &out).up(t.Context())
	if err == nil || !strings.Contains(err.Error(), "helm") {
		t.Errorf("got %v, want an error with the command", err)
	}
	if !strings.Contains(out.String(), "timed out") {
		t.Errorf("helm's error is not in: %s", out.String())
	}
	if calls := s.calls(t); !strings.HasPrefix(calls[len(calls)-1], "helm ") {
		t.Errorf("got last command %s, want helm", calls[len(calls)-1])
	}
}

func TestDown(t *testing.T) {
	s := newStandIns(t, "docker", "kind")
	if err := s.cluster(t, &bytes.Buffer{}).down(t.Context()); err != nil {
		t.Fatal(err)
	}
	calls := s.calls(t)
	if got, want := calls[len(calls)-1], "kind delete cluster --name pod-identity-webhook --kubeconfig "+s.dir+"/kubeconfig"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestShowPod(t *testing.T) {
	pod := injected()
	var out bytes.Buffer
	if err := walkthrough.ShowPod(&out, &pod); err != nil {
		t.Fatal(err)
	}
	const want = `
Pod amazon-cloudwatch/cloudwatch-agent-x of ServiceAccount cloudwatch-agent has:
  volume aws-iam-token: a token in the file token, for 86400 s, for sts.amazonaws.com
  init container prepare:
    mount aws-iam-token at /var/run/secrets/eks.amazonaws.com/serviceaccount
  container agent:
    mount aws-iam-token at /var/run/secrets/eks.amazonaws.com/serviceaccount
    AWS_ROLE_ARN=arn:aws:iam::111122223333:role/cloudwatch-agent
`
	if out.String() != want {
		t.Errorf("got %s\nwant %s", out.String(), want)
	}

	pod.Spec.Volumes = pod.Spec.Volumes[1:] // only the token for the API server remains
	if err := walkthrough.ShowPod(&out, &pod); err == nil || !strings.Contains(err.Error(), "has no token for AWS") {
		t.Errorf("got %v for a pod that was not injected", err)
	}
}

// helm, the chart and the API server are real. helm runs with --dry-run=server,
// because the API server has no nodes.
func TestInstall_image(t *testing.T) {
	helm := os.Getenv("HELM")
	if helm == "" {
		t.Fatal("HELM is not set: run make kind-test")
	}
	plane, _ := startPlane(t, testplane.Options{})
	c := &walkthrough.Cluster{Repository: "localhost/pod-identity-webhook", Tag: "v1", Kubeconfig: plane.Kubeconfig()}
	rendered, err := walkthrough.Output(t.Context(), helm, append(c.Installation("sha256:0123"), "--dry-run=server", "--output", "json")...)
	if err != nil {
		t.Fatal(err)
	}
	var installed struct {
		Manifest string `json:"manifest"`
	}
	if err := json.Unmarshal(rendered, &installed); err != nil {
		t.Fatal(err)
	}
	for document := range strings.SplitSeq(installed.Manifest, "\n---\n") {
		var deployment appsv1.Deployment
		if err := yaml.Unmarshal([]byte(document), &deployment); err != nil || deployment.Kind != "Deployment" {
			continue
		}
		container := deployment.Spec.Template.Spec.Containers[0]
		if container.Image != "localhost/pod-identity-webhook:v1" || container.ImagePullPolicy != corev1.PullNever {
			t.Errorf("got image %s with pull policy %s, want localhost/pod-identity-webhook:v1 with Never", container.Image, container.ImagePullPolicy)
		}
		if got := deployment.Spec.Template.Annotations["imageDigest"]; got != "sha256:0123" {
			t.Errorf("got pod annotation imageDigest %q, want sha256:0123", got)
		}
		if deployment.Namespace != walkthrough.Release || deployment.Name != walkthrough.Release {
			t.Errorf("got Deployment %s/%s, want name and namespace %s, as in the error messages", deployment.Namespace, deployment.Name, walkthrough.Release)
		}
		return
	}
	t.Errorf("got no Deployment in:\n%s", installed.Manifest)
}

// kubectl and the API server are real. There are no nodes and no controllers, so
// standInForTheNode creates the pod that ApplyExample waits for.
func TestUp_example(t *testing.T) {
	plane, client := startPlane(t, testplane.Options{})
	var out bytes.Buffer
	c := &walkthrough.Cluster{Kubectl: filepath.Join(testplane.DefaultAssets(), "kubectl"), Kubeconfig: plane.Kubeconfig(), Out: &out}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	made := make(chan error, 1)
	go func() {
		err := standInForTheNode(ctx, client)
		if err != nil {
			cancel() // the pod will never be scheduled
		}
		made <- err
	}()
	for _, step := range []func(context.Context) error{c.PublishIssuer, c.ApplyExample, c.Show} {
		if err := step(ctx); err != nil {
			cancel()
			t.Fatalf("%v, %v\n%s", err, <-made, out.String())
		}
	}
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"AWS_ROLE_ARN=arn:aws:iam::111122223333:role/cloudwatch-agent", "Issuer of its tokens: " + plane.Issuer()} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
}

// standInForTheNode creates the pod of the example's DaemonSet and marks it as
// scheduled. It first waits for the ServiceAccount, which kubectl applies last.
func standInForTheNode(ctx context.Context, client kubernetes.Interface) error {
	watch, err := client.CoreV1().ServiceAccounts(walkthrough.ExampleNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=cloudwatch-agent"})
	if err != nil {
		return err
	}
	defer watch.Stop()
	select {
	case <-watch.ResultChan():
	case <-ctx.Done():
		return ctx.Err()
	}
	pod := injected()
	created, err := client.CoreV1().Pods(walkthrough.ExampleNamespace).Create(ctx, &pod, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	created.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}
	_, err = client.CoreV1().Pods(walkthrough.ExampleNamespace).UpdateStatus(ctx, created, metav1.UpdateOptions{})
	return err
}

func injected() corev1.Pod {
	seconds := int64(86400)
	token := func(volume, audience string) corev1.Volume {
		return corev1.Volume{Name: volume, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
				Audience: audience, ExpirationSeconds: &seconds, Path: "token",
			}}},
		}}}
	}
	mounts := []corev1.VolumeMount{
		{Name: "kube-api-access", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"},
		{Name: "aws-iam-token", MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount"},
	}
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "amazon-cloudwatch", Name: "cloudwatch-agent-x", Labels: map[string]string{"name": "cloudwatch-agent"},
		},
		Spec: corev1.PodSpec{
			ServiceAccountName: "cloudwatch-agent",
			Volumes:            []corev1.Volume{token("aws-iam-token", "sts.amazonaws.com"), token("kube-api-access", "")},
			InitContainers:     []corev1.Container{{Name: "prepare", Image: "prepare", VolumeMounts: mounts}},
			Containers: []corev1.Container{{
				Name: "agent", Image: "agent", VolumeMounts: mounts,
				Env: []corev1.EnvVar{
					{Name: "HOST", Value: "x"},
					{Name: "AWS_ROLE_ARN", Value: "arn:aws:iam::111122223333:role/cloudwatch-agent"},
				},
			}},
		},
	}
}
