package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

// The exit codes of doctor.
const (
	exitWell   = 0
	exitBroken = 2
)

// doctorTarget is a ServiceAccount, with a role and a pod of the same name.
type doctorTarget struct{ namespace string }

const patientName = "cart"

func (p doctorTarget) role() string { return p.namespace + "-" + patientName }

func (p doctorTarget) roleARN() string { return "arn:aws:iam::111122223333:role/" + p.role() }

// kubectl runs kubectl in the patient's namespace.
func (p doctorTarget) kubectl(t *testing.T, args ...string) {
	t.Helper()
	kubectl(t, append([]string{"--namespace", p.namespace}, args...)...)
}

// replacePod makes the pod anew, as change has it, and waits until it runs.
func (p doctorTarget) replacePod(t *testing.T, change func(*corev1.Pod)) {
	t.Helper()
	p.kubectl(t, "delete", "pod", patientName, "--ignore-not-found", "--grace-period=1")
	createPod(t, p.namespace, patientName, change)
	p.kubectl(t, "wait", "pod", patientName, "--for=condition=Ready", "--timeout=2m")
}

// examine asks doctor, and returns the status of each check that is not ok, and
// its exit code.
func (p doctorTarget) examine(t *testing.T, target string) (map[string]string, string, int) {
	t.Helper()
	text, code := irsa(t, "doctor", target, "--namespace", p.namespace, "--issuer-ca-file", issuerCA(), "--output", "json")
	var diagnosis struct {
		Findings []struct{ Check, Status, Summary string } `json:"findings"`
	}
	if err := json.Unmarshal([]byte(text), &diagnosis); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	ill := map[string]string{}
	var told strings.Builder
	for _, finding := range diagnosis.Findings {
		if finding.Status != "ok" && finding.Status != "skipped" {
			ill[finding.Check] = finding.Status
			fmt.Fprintf(&told, "%s is %s: %s\n", finding.Check, finding.Status, finding.Summary)
		}
	}
	return ill, told.String(), code
}

// issuerCA is a file of the CA of the issuer, which is the API server.
func issuerCA() string {
	return filepath.Join(filepath.Dir(world.Kubeconfig), "plane", "apiserver.crt")
}

// expectWell waits until doctor finds nothing: the API server and STS take a moment
// to see what was mended.
func (p doctorTarget) expectWell(t *testing.T) {
	t.Helper()
	for _, target := range []string{"serviceaccount/" + patientName, "pod/" + patientName} {
		eventually(t, target+" is well", func(context.Context) error {
			if ill, told, code := p.examine(t, target); code != exitWell || len(ill) > 0 {
				return fmt.Errorf("exit code %d\n%s", code, told)
			}
			return nil
		})
	}
}

// expectRefused fails if a pod without its role is created: the guard needs no
// webhook.
func (p doctorTarget) expectRefused(t *testing.T) {
	t.Helper()
	of := template("refused", patientName)
	_, err := world.client.CoreV1().Pods(p.namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "refused"}, Spec: of.Spec,
	}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "irsa-pod-identity-webhook-guard") {
		t.Errorf("got %v, want the guard's refusal", err)
	}
}

// fault is one that is put in by hand, and how it is mended.
type fault struct {
	name string
	// check is the one that names it.
	check, target string
	breaks, mends func(*testing.T, doctorTarget)
}

// annotate sets annotations of the ServiceAccount.
func annotate(annotations ...string) func(*testing.T, doctorTarget) {
	return func(t *testing.T, p doctorTarget) {
		t.Helper()
		for i := range annotations {
			annotations[i] = strings.ReplaceAll(annotations[i], "ROLE", p.roleARN())
		}
		p.kubectl(t, append([]string{"annotate", "--overwrite", "serviceaccount", patientName}, annotations...)...)
	}
}

// withPod makes the pod anew, as change has it.
func withPod(change func(*corev1.Pod)) func(*testing.T, doctorTarget) {
	return func(t *testing.T, p doctorTarget) {
		t.Helper()
		p.replacePod(t, change)
	}
}

const (
	roleAnnotation = "eks.amazonaws.com/role-arn"
	registration   = "mutatingwebhookconfiguration/irsa-pod-identity-webhook"
)

var faults = []fault{
	{
		name: "the ServiceAccount is deleted", check: "service_account",
		breaks: func(t *testing.T, p doctorTarget) { p.kubectl(t, "delete", "serviceaccount", patientName) },
		mends:  func(t *testing.T, p doctorTarget) { giveRole(t, p.namespace, patientName) },
	},
	{
		name: "the annotation is misspelt", check: "role_annotation",
		breaks: annotate(roleAnnotation+"-", "eks.amazonaws.com/rolearn=ROLE"),
		mends:  annotate(roleAnnotation+"=ROLE", "eks.amazonaws.com/rolearn-"),
	},
	{
		name: "the ARN has quotes in it", check: "annotations",
		breaks: annotate(roleAnnotation + `="ROLE"`),
		mends:  annotate(roleAnnotation + "=ROLE"),
	},
	{
		name: "the registration is deleted", check: "webhook_registered",
		breaks: func(t *testing.T, _ doctorTarget) { kubectl(t, "delete", registration) },
		mends:  reinstall,
	},
	{
		name: "the rules leave pods out", check: "webhook_rules",
		breaks: func(t *testing.T, _ doctorTarget) {
			kubectl(t, "patch", registration, "--type=json", `--patch=[{"op":"remove","path":"/webhooks/0/rules/0"}]`)
		},
		mends: reinstall,
	},
	{
		name: "no replica runs", check: "webhook_endpoints",
		breaks: func(t *testing.T, p doctorTarget) {
			kubectl(t, "--namespace", release, "scale", "deployment", release, "--replicas=0")
			kubectl(t, "--namespace", release, "wait", "pods", "--all", "--for=delete", "--timeout=2m")
			p.expectRefused(t)
		},
		mends: reinstall,
	},
	{
		name: "the pod is to be skipped", check: "pod_injected", target: "pod",
		breaks: withPod(func(pod *corev1.Pod) { pod.Labels["eks.amazonaws.com/skip-pod-identity-webhook"] = "true" }),
		mends:  withPod(nil),
	},
	{
		name: "keys are in the environment", check: "pod_overrides", target: "pod",
		breaks: withPod(func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AWS_ACCESS_KEY_ID", Value: "AKIAOFSOMEBODYELSE00"}}
		}),
		mends: withPod(nil),
	},
	{
		name: "the token is for another audience", check: "pod_token", target: "pod",
		breaks: func(t *testing.T, p doctorTarget) {
			annotate("eks.amazonaws.com/audience=vault")(t, p)
			p.replacePod(t, nil)
			annotate("eks.amazonaws.com/audience-")(t, p)
		},
		mends: withPod(nil),
	},
	{
		name: "nobody may read the issuer", check: "issuer_discovery",
		breaks: func(t *testing.T, _ doctorTarget) {
			kubectl(t, "delete", "clusterrolebinding", "service-account-issuer-discovery-for-everybody")
		},
		mends: func(t *testing.T, _ doctorTarget) {
			kubectl(t, "apply", "-f", repopath.Path("deploy", "kind", "issuer-discovery.yaml"))
		},
	},
	{
		name: "IAM does not know the issuer", check: "oidc_provider",
		breaks: func(t *testing.T, _ doctorTarget) { must(t, "provider", "delete", "--approve") },
		mends:  func(t *testing.T, _ doctorTarget) { must(t, "provider", "create", "--approve") },
	},
	{
		name: "the role is deleted", check: "role_exists",
		breaks: func(t *testing.T, p doctorTarget) {
			if _, err := iam.NewFromConfig(admin()).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String(p.role())}); err != nil {
				t.Fatal(err)
			}
		},
		mends: func(t *testing.T, p doctorTarget) { giveRole(t, p.namespace, patientName) },
	},
	{
		name: "the role trusts another namespace", check: "trust_policy",
		breaks: func(t *testing.T, p doctorTarget) {
			client := iam.NewFromConfig(admin())
			role, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String(p.role())})
			if err != nil {
				t.Fatal(err)
			}
			// IAM answers with documents that are encoded as in a URL.
			policy, err := url.QueryUnescape(aws.ToString(role.Role.AssumeRolePolicyDocument))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := client.UpdateAssumeRolePolicy(t.Context(), &iam.UpdateAssumeRolePolicyInput{
				RoleName: aws.String(p.role()), PolicyDocument: aws.String(strings.ReplaceAll(policy, p.namespace, "another")),
			}); err != nil {
				t.Fatal(err)
			}
		},
		mends: func(t *testing.T, p doctorTarget) { giveRole(t, p.namespace, patientName) },
	},
}

// reinstall has helm make everything as it was.
func reinstall(t *testing.T, _ doctorTarget) {
	t.Helper()
	// Fields that kubectl has changed are kubectl's from then on.
	if err := world.Install(t.Context(), append(values(), "--force-conflicts")...); err != nil {
		t.Fatal(err)
	}
}

func TestDoctor(t *testing.T) {
	p := doctorTarget{newNamespace(t, nil)}
	giveRole(t, p.namespace, patientName)
	p.replacePod(t, nil)
	p.expectWell(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			f.breaks(t, p)
			target := "serviceaccount/" + patientName
			if f.target != "" {
				target = f.target + "/" + patientName
			}
			eventually(t, "doctor names it", func(context.Context) error {
				if ill, told, code := p.examine(t, target); code != exitBroken || ill[f.check] != "broken" {
					return fmt.Errorf("exit code %d, %s is %q\n%s", code, f.check, ill[f.check], told)
				}
				return nil
			})
			f.mends(t, p)
			p.expectWell(t)
		})
	}
}
