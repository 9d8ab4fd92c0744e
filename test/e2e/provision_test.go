package e2e_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/exchange"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/stsprocess"
)

const (
	readOnlyPolicy = "arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"
	queuePolicy    = "arn:aws:iam::aws:policy/AmazonSQSFullAccess"
)

// account is an AWS account in local-sts, with its administrator's credentials.
type account struct {
	aws.Config
	endpoint string
}

func newAccount(t *testing.T) *account {
	t.Helper()
	dir := t.TempDir()
	bundle := filepath.Join(dir, "issuer-ca.pem")
	if err := os.WriteFile(bundle, cluster.CABundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	server, err := stsprocess.Start(t.Context(), stsprocess.Options{Binary: os.Getenv("LOCAL_STS"), Dir: dir, IssuerCAFile: bundle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		server.Stop()
		if log, err := server.Logs(); t.Failed() {
			t.Logf("log of local-sts: %s, error %v", log, err)
		}
	})
	return &account{Config: server.AdminConfig(), endpoint: server.URL()}
}

// plugin runs kubectl irsa as the administrator of the cluster and of the account.
func (a *account) plugin(t *testing.T, args ...string) (stdout string, code int) {
	t.Helper()
	credentials, err := a.Credentials.Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), pluginBinary(t), args...)
	command.Env = []string{
		"KUBECONFIG=" + cluster.Kubeconfig(), "HOME=" + t.TempDir(), "AWS_ENDPOINT_URL=" + a.endpoint, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_ACCESS_KEY_ID=" + credentials.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + credentials.SecretAccessKey,
	}
	var out, stderr bytes.Buffer
	command.Stdout, command.Stderr = &out, &stderr
	err = command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		code = exit.ExitCode()
	}
	t.Logf("kubectl irsa %s: exit code %d\n%s%s", strings.Join(args, " "), code, out.String(), stderr.String())
	return out.String(), code
}

// mustPrint runs the plugin. It must succeed, with the text in its output.
func (a *account) mustPrint(t *testing.T, want string, args ...string) {
	t.Helper()
	if output, code := a.plugin(t, args...); code != 0 || !strings.Contains(output, want) {
		t.Fatalf("kubectl irsa %s: got exit code %d, want 0 and %q in the output", strings.Join(args, " "), code, want)
	}
}

// role returns a role, or nil if it does not exist.
func (a *account) role(t *testing.T, name string) *types.Role {
	t.Helper()
	found, err := iam.NewFromConfig(a.Config).GetRole(t.Context(), &iam.GetRoleInput{RoleName: &name})
	if _, missing := errors.AsType[*types.NoSuchEntityException](err); missing {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return found.Role
}

func (a *account) createRole(t *testing.T, name string) {
	t.Helper()
	_, err := iam.NewFromConfig(a.Config).CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: &name, AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:oidc-provider/` +
			strings.TrimPrefix(cluster.Issuer(), "https://") + `"},"Action":"sts:AssumeRoleWithWebIdentity"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tokenOf requests the token that a pod's first container would read, as the kubelet
// does. It is a credential.
func tokenOf(t *testing.T, client kubernetes.Interface, pod *corev1.Pod) string {
	t.Helper()
	projection := pod.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
	issued, err := client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences: []string{projection.Audience}, ExpirationSeconds: projection.ExpirationSeconds,
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Status.Token
}

// findAccount returns the ServiceAccount app, or nil if it does not exist.
func findAccount(t *testing.T, client kubernetes.Interface, namespace string) *corev1.ServiceAccount {
	t.Helper()
	found, err := client.CoreV1().ServiceAccounts(namespace).Get(t.Context(), "app", metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestProvision_lifecycle creates everything that a pod needs with the plugin, and deletes
// it again.
func TestProvision_lifecycle(t *testing.T) {
	client := newClient(t)
	waitRegistered(t, client)
	namespace := newNamespace(t, client)
	a := newAccount(t)
	if _, code := a.plugin(t, "provider", "show"); code != 2 {
		t.Errorf("without a provider: got exit code %d", code)
	}
	a.mustPrint(t, "Nothing is changed yet", "provider", "create")
	a.mustPrint(t, "Done.", "provider", "create", "--approve")
	a.mustPrint(t, "Nothing to do.", "provider", "create", "--approve")
	a.mustPrint(t, "Created by:    kubectl irsa", "provider", "show")
	a.createRole(t, "theirs")

	create := []string{
		"serviceaccount", "create", "app", "-n", namespace, "--cluster-name", "e2e", "--attach-policy-arn", readOnlyPolicy,
		"--attach-policy-arn", queuePolicy, "--permissions-boundary", queuePolicy, "--tags", "team=shop", "--path", "/team/",
	}
	a.mustPrint(t, "4 changes to make", create...)
	if findAccount(t, client, namespace) != nil || a.role(t, "e2e."+namespace+".app") != nil {
		t.Fatal("a plan without --approve changed AWS")
	}
	a.mustPrint(t, "Done.", append(create, "--approve")...)
	a.mustPrint(t, "Nothing to do.", append(create, "--approve")...)

	role := a.role(t, "e2e."+namespace+".app")
	if role == nil || *role.PermissionsBoundary.PermissionsBoundaryArn != queuePolicy {
		t.Fatalf("got role %+v", role)
	}
	pod, err := client.CoreV1().Pods(namespace).Create(t.Context(), podOf("app", "app"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := roleOf(pod); got != *role.Arn {
		t.Fatalf("got role %q of the pod, want %s", got, *role.Arn)
	}
	credentials, err := exchange.WithWebIdentity(t.Context(), a.Config, exchange.Input{RoleARN: *role.Arn, SessionName: "e2e", Token: tokenOf(t, client, pod)})
	if err != nil {
		t.Fatal(err)
	}
	if want := "system:serviceaccount:" + namespace + ":app"; credentials.Subject != want {
		t.Errorf("got subject %s, want %s", credentials.Subject, want)
	}
	a.mustPrint(t, "ok", "serviceaccount", "list", "-n", namespace)

	a.mustPrint(t, "Done.", "sa", "delete", "app", "-n", namespace, "--approve")
	a.mustPrint(t, "Nothing to do.", "sa", "delete", "app", "-n", namespace, "--approve")
	if findAccount(t, client, namespace) != nil || a.role(t, "e2e."+namespace+".app") != nil {
		t.Error("the role or the ServiceAccount still exists")
	}
	if a.role(t, "theirs") == nil {
		t.Error("an unmanaged role was deleted")
	}
	a.mustPrint(t, "role/theirs trusts the provider", "provider", "delete", "--approve")
	a.mustPrint(t, "Nothing to do.", "provider", "delete", "--approve")
}

// TestProvision_existingServiceAccount uses a ServiceAccount that another field manager
// applied.
func TestProvision_existingServiceAccount(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	a := newAccount(t)
	existing := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "app", Labels: map[string]string{"app": "app"}, Annotations: map[string]string{"theirs": "stays"}}}
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), existing, metav1.CreateOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	a.mustPrint(t, "updated ServiceAccount", "sa", "create", "app", "-n", namespace, "--audience", "sts.example.com", "--approve")
	got := findAccount(t, client, namespace)
	if len(got.Annotations) != 3 || got.Annotations["eks.amazonaws.com/audience"] != "sts.example.com" || got.Labels["app"] != "app" {
		t.Errorf("got %v and %v", got.Annotations, got.Labels)
	}
	a.mustPrint(t, "updated ServiceAccount", "sa", "delete", "app", "-n", namespace, "--approve")
	got = findAccount(t, client, namespace)
	if len(got.Annotations) != 1 || got.Annotations["theirs"] != "stays" || got.Labels["app"] != "app" {
		t.Errorf("got %v and %v", got.Annotations, got.Labels)
	}
}

// TestProvision_otherRole changes the role of a ServiceAccount that the plugin created.
func TestProvision_otherRole(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	a := newAccount(t)
	if _, err := client.CoreV1().ServiceAccounts(namespace).Create(t.Context(), serviceAccount("app", appRole), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, code := a.plugin(t, "sa", "create", "app", "-n", namespace, "--approve"); code != 1 {
		t.Errorf("got exit code %d", code)
	}
	a.mustPrint(t, "Done.", "sa", "create", "app", "-n", namespace, "--role-only", "--approve")
	if _, code := a.plugin(t, "sa", "list", "-n", namespace); code != 2 {
		t.Errorf("list: got exit code %d", code)
	}
	a.mustPrint(t, "instead of "+appRole, "sa", "create", "app", "-n", namespace, "--override-existing-serviceaccounts", "--approve")
	a.mustPrint(t, "ok", "sa", "list", "-n", namespace)
	if _, err := client.CoreV1().ServiceAccounts(namespace).Patch(t.Context(), "app", "application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+roleAnnotation+`":"`+appRole+`"}}}`), metav1.PatchOptions{FieldManager: "helm"}); err != nil {
		t.Fatal(err)
	}
	a.mustPrint(t, "which names another role", "sa", "delete", "app", "-n", namespace, "--approve")
	if got := findAccount(t, client, namespace); got == nil || got.Annotations[roleAnnotation] != appRole {
		t.Errorf("got %+v", got)
	}
}

// cut returns the account behind a proxy that forwards the first writes and rejects
// the later ones.
func (a *account) cut(t *testing.T, writes int64) *account {
	t.Helper()
	target, err := url.Parse(a.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	// The signature covers the Host header, so the proxy keeps it.
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = target.Scheme, target.Host }}
	var done atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		form, err := url.ParseQuery(string(body))
		if err != nil {
			t.Error(err)
		}
		action := form.Get("Action")
		reads := strings.HasPrefix(action, "Get") || strings.HasPrefix(action, "List")
		if !reads && done.Add(1) > writes {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>injected fault</Message></Error></ErrorResponse>`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return &account{Config: a.Config, endpoint: server.URL}
}

func TestProvision_resume(t *testing.T) {
	client := newClient(t)
	a := newAccount(t)
	for writes := range int64(3) {
		t.Run(fmt.Sprintf("after %d writes", writes), func(t *testing.T) {
			namespace := newNamespace(t, client)
			create := []string{"sa", "create", "app", "-n", namespace, "--cluster-name", "e2e", "--attach-policy-arn", readOnlyPolicy, "--attach-policy-arn", queuePolicy, "--approve"}
			if output, code := a.cut(t, writes).plugin(t, create...); code != 1 || strings.Contains(output, "Done.") {
				t.Fatalf("got exit code %d", code)
			}
			if findAccount(t, client, namespace) != nil {
				t.Error("the ServiceAccount exists before its role is complete")
			}
			a.mustPrint(t, "Done.", create...)
			a.mustPrint(t, "Nothing to do.", create...)
			attached, err := iam.NewFromConfig(a.Config).ListAttachedRolePolicies(t.Context(), &iam.ListAttachedRolePoliciesInput{RoleName: aws.String("e2e." + namespace + ".app")})
			if err != nil || len(attached.AttachedPolicies) != 2 || findAccount(t, client, namespace) == nil {
				t.Errorf("got %+v, %v", attached, err)
			}
			remove := []string{"sa", "delete", "app", "-n", namespace, "--cluster-name", "e2e", "--approve"}
			if _, code := a.cut(t, writes).plugin(t, remove...); code != 1 {
				t.Fatalf("delete: got exit code %d", code)
			}
			a.mustPrint(t, "Done.", remove...)
			a.mustPrint(t, "Nothing to do.", remove...)
			if findAccount(t, client, namespace) != nil || a.role(t, "e2e."+namespace+".app") != nil {
				t.Error("the role or the ServiceAccount still exists")
			}
		})
	}
}

func TestProvision_jsonOutput(t *testing.T) {
	client := newClient(t)
	namespace := newNamespace(t, client)
	output, code := newAccount(t).plugin(t, "sa", "create", "app", "-n", namespace, "-o", "json")
	var plan struct {
		Approved bool
		Steps    []struct{ Action, Kind, State string }
	}
	if err := json.Unmarshal([]byte(output), &plan); err != nil || code != 0 {
		t.Fatal(err, code)
	}
	if plan.Approved || len(plan.Steps) != 2 || plan.Steps[0].State != "needed" {
		t.Errorf("got %+v", plan)
	}
}
