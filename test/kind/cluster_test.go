package main

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	kubeadmapi "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm"
	kubeadmscheme "k8s.io/kubernetes/cmd/kubeadm/app/apis/kubeadm/scheme"
	"k8s.io/kubernetes/cmd/kubeadm/app/phases/controlplane"
	kubeadmutil "k8s.io/kubernetes/cmd/kubeadm/app/util"
	kubeadmconfig "k8s.io/kubernetes/cmd/kubeadm/app/util/config"
	"k8s.io/kubernetes/cmd/kubeadm/app/util/config/strict"
	kindcluster "sigs.k8s.io/kind/pkg/cluster"
	"sigs.k8s.io/yaml"

	testplane "github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/manifest"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// issuer is the issuer in deploy/kind/cluster.yaml.
const issuer = "https://kubernetes.default.svc.cluster.local"

// kubeadmConfiguration returns the kubeadm configuration that kind writes into
// its node. kind itself reads deploy/kind/cluster.yaml, in strict mode. Only
// Docker is fake: a script stores the file that kind writes.
func kubeadmConfiguration(t *testing.T, kubernetesVersion string) []byte {
	t.Helper()
	dir := t.TempDir()
	const docker = `#!/bin/sh
# Implements the Docker commands that kind runs before it starts Kubernetes.
case "$*" in
"info --format {{json .}}") echo '{"CgroupDriver":"systemd","CgroupVersion":"2","MemoryLimit":true,"PidsLimit":true,"CPUShares":true}' ;;
"info "*) ;;
"inspect --type=image "*) ;;
"network ls "*"{{.ID}}") echo 0123 ;;
"network ls "*"{{.Name}}") echo kind ;;
"network inspect 0123") echo '[{"Id":"0123","Containers":{}}]' ;;
"network inspect "*) ;;
"run "*) touch "$STAND_IN/node" ;;
"ps "*) test ! -e "$STAND_IN/node" || echo pod-identity-webhook-control-plane ;;
"logs "*) echo "Reached target Multi-User System." ;;
"inspect --format {{ index .Config.Labels "*role*) echo control-plane ;;
"inspect -f {{range .NetworkSettings.Networks}}"*) echo 172.18.0.2, ;;
"exec "*" cat /kind/version") echo "$KUBERNETES_VERSION" ;;
"exec "*" mkdir -p /kind") ;;
"exec "*" cp /dev/stdin /kind/kubeadm.conf") cat > "$STAND_IN/kubeadm.conf" ;;
"exec "*" cat /etc/containerd/config.toml") cat "$STAND_IN/config.toml" ;;
"exec "*" mkdir -p /etc/containerd") ;;
"exec "*" cp /dev/stdin /etc/containerd/config.toml") cat > "$STAND_IN/config.toml" ;;
"exec "*" bash -c "*"systemctl restart containerd") ;;
"rm "*) ;;
*) echo "fake docker: unknown command: $*" >&2; exit 1 ;;
esac
`
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o700); err != nil {
		t.Fatal(err)
	}
	writeContainerdConfiguration(t, filepath.Join(dir, "config.toml"))
	t.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	t.Setenv("STAND_IN", dir)
	t.Setenv("KUBERNETES_VERSION", kubernetesVersion)
	if err := kindcluster.NewProvider(kindcluster.ProviderWithDocker()).Create("",
		kindcluster.CreateWithConfigFile(repopath.Path("deploy", "kind", "cluster.yaml")),
		kindcluster.CreateWithStopBeforeSettingUpKubernetes(true),
		kindcluster.CreateWithKubeconfigPath(filepath.Join(dir, "kubeconfig")),
	); err != nil {
		t.Fatal(err)
	}
	patched, err := os.ReadFile(filepath.Join(dir, "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"restrict_oom_score_adj = true", "SystemdCgroup = true", "sandbox_image = "} {
		if !strings.Contains(string(patched), want) {
			t.Errorf("got a configuration of containerd without %q:\n%s", want, patched)
		}
	}
	written, err := os.ReadFile(filepath.Join(dir, "kubeadm.conf"))
	if err != nil {
		t.Fatal(err)
	}
	return written
}

// writeContainerdConfiguration writes the configuration of containerd in kind's node image.
func writeContainerdConfiguration(t *testing.T, file string) {
	t.Helper()
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/kind").Output()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(module)), "images", "base", "files", "etc", "containerd", "config.toml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// apiServerFlags returns the flags of the API server's static pod from kubeadm.
func apiServerFlags(t *testing.T) map[string]string {
	t.Helper()
	written := kubeadmConfiguration(t, "v1.37.0")
	documents, err := kubeadmutil.SplitConfigDocuments(written)
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for kind, document := range documents {
		if kind.Group != kubeadmapi.GroupName {
			continue
		}
		read++
		if err := strict.VerifyUnmarshalStrict([]*runtime.Scheme{kubeadmscheme.Scheme}, kind, document); err != nil {
			t.Errorf("kubeadm rejects its configuration in strict mode: %v", err)
		}
	}
	if read == 0 {
		t.Fatalf("got no kubeadm configuration in:\n%s", written)
	}
	config, err := kubeadmconfig.BytesToInitConfiguration(written, true)
	if err != nil {
		t.Fatal(err)
	}
	pods := controlplane.GetStaticPodSpecs(&config.ClusterConfiguration, &config.LocalAPIEndpoint, nil)
	flags := make(map[string]string)
	for _, argument := range pods["kube-apiserver"].Spec.Containers[0].Command[1:] {
		flag, value, _ := strings.Cut(strings.TrimPrefix(argument, "--"), "=")
		if _, twice := flags[flag]; twice {
			t.Errorf("got flag --%s of the API server twice", flag)
		}
		flags[flag] = value
	}
	return flags
}

func TestClusterConfig(t *testing.T) {
	flags := apiServerFlags(t)
	for flag, want := range map[string]string{
		"service-account-issuer":           issuer,
		"service-account-jwks-uri":         issuer + "/openid/v1/jwks",
		"api-audiences":                    issuer,
		"service-account-signing-key-file": "/etc/kubernetes/pki/sa.key",
		// kind sets this flag. A patch that replaces the list would remove it.
		"runtime-config": "",
	} {
		if got, ok := flags[flag]; !ok || got != want {
			t.Errorf("got --%s=%q (set: %t), want %q", flag, got, ok, want)
		}
	}
}

// The kubeadm module reads only v1beta4, so the test compares the flags of the
// v1beta3 configuration with those of v1beta4.
func TestClusterConfig_kubeadmV1beta3(t *testing.T) {
	flags := apiServerFlags(t)
	documents, err := kubeadmutil.SplitConfigDocuments(kubeadmConfiguration(t, "v1.30.0"))
	if err != nil {
		t.Fatal(err)
	}
	var older struct {
		APIServer struct {
			ExtraArgs map[string]string `json:"extraArgs"`
		} `json:"apiServer"`
	}
	for kind, document := range documents {
		if kind.Group == kubeadmapi.GroupName && kind.Version == "v1beta3" && kind.Kind == "ClusterConfiguration" {
			if err := yaml.Unmarshal(document, &older); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(older.APIServer.ExtraArgs) < 3 {
		t.Errorf("got flags %v, want at least 3", older.APIServer.ExtraArgs)
	}
	for flag, value := range older.APIServer.ExtraArgs {
		if flags[flag] != value {
			t.Errorf("got --%s=%q in v1beta3, want %q as in v1beta4", flag, value, flags[flag])
		}
	}
}

// A real API server accepts the flags, and STS accepts its tokens.
func TestTokenAudience(t *testing.T) {
	flags := apiServerFlags(t)
	cluster, client := startPlane(t, testplane.Options{
		Issuer: flags["service-account-issuer"],
		APIServerFlags: []string{
			"--service-account-jwks-uri=" + flags["service-account-jwks-uri"],
			"--api-audiences=" + flags["api-audiences"],
		},
	})
	if _, err := manifest.Apply(t.Context(), cluster.Config(), repopath.Path("deploy", "kind", "issuer-discovery.yaml")); err != nil {
		t.Fatal(err)
	}
	anonymous, err := cluster.AnonymousClient()
	if err != nil {
		t.Fatal(err)
	}
	defer anonymous.CloseIdleConnections()

	var discovery struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	readJSON(t, anonymous, cluster.Config().Host+"/.well-known/openid-configuration", &discovery)
	if discovery.Issuer != issuer || discovery.JWKS != issuer+"/openid/v1/jwks" {
		t.Errorf("got discovery document %+v, want issuer %s", discovery, issuer)
	}

	requestToken := func(audiences ...string) string {
		t.Helper()
		request, err := client.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default",
			&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return request.Status.Token
	}
	authenticated := func(token string) bool {
		t.Helper()
		review, err := client.AuthenticationV1().TokenReviews().Create(t.Context(),
			&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return review.Status.Authenticated
	}

	forSTS := requestToken("sts.amazonaws.com")
	keys := oidc.NewRemoteKeySet(oidc.ClientContext(t.Context(), anonymous), cluster.Config().Host+"/openid/v1/jwks")
	verified, err := oidc.NewVerifier(issuer, keys, &oidc.Config{ClientID: "sts.amazonaws.com"}).Verify(t.Context(), forSTS)
	if err != nil {
		t.Fatalf("the token's signature or claims are invalid for STS: %v", err)
	}
	if want := "system:serviceaccount:default:default"; verified.Subject != want || !slices.Equal(verified.Audience, []string{"sts.amazonaws.com"}) {
		t.Errorf("got token with subject %s and audiences %v, want %s and sts.amazonaws.com", verified.Subject, verified.Audience, want)
	}
	if authenticated(forSTS) {
		t.Error("the API server accepts the token for STS")
	}
	if !authenticated(requestToken()) {
		t.Error("the API server rejects a token with its own audience")
	}
}

// startPlane starts a control plane and stops it at the end of the test.
func startPlane(t *testing.T, options testplane.Options) (*testplane.ControlPlane, *kubernetes.Clientset) {
	t.Helper()
	options.Dir = t.TempDir()
	plane, err := testplane.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Stop)
	client, err := kubernetes.NewForConfig(plane.Config())
	if err != nil {
		t.Fatal(err)
	}
	return plane, client
}

func readJSON(t *testing.T, client *http.Client, url string, into any) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}
