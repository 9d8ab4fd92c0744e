package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
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
	exitOK     = 0
	exitBroken = 2
)

// doctorTarget is a ServiceAccount with a role, and a pod of the same name.
type doctorTarget struct{ namespace string }

const targetName = "cart"

func (p doctorTarget) role() string { return p.namespace + "-" + targetName }

func (p doctorTarget) roleARN() string { return "arn:aws:iam::111122223333:role/" + p.role() }

// kubectl runs kubectl in the target's namespace.
func (p doctorTarget) kubectl(t *testing.T, args ...string) {
	t.Helper()
	kubectl(t, append([]string{"--namespace", p.namespace}, args...)...)
}

// replacePod deletes the pod, creates it again with the change, and waits until it runs.
func (p doctorTarget) replacePod(t *testing.T, change func(*corev1.Pod)) {
	t.Helper()
	p.kubectl(t, "delete", "pod", targetName, "--ignore-not-found", "--grace-period=1")
	createPod(t, p.namespace, targetName, change)
	p.kubectl(t, "wait", "pod", targetName, "--for=condition=Ready", "--timeout=2m")
}

// examine runs doctor and returns the status of each check that is neither ok nor
// skipped, the summaries of these checks, and doctor's exit code.
func (p doctorTarget) examine(t *testing.T, target string) (map[string]string, string, int) {
	t.Helper()
	text, code := irsa(t, "doctor", target, "--namespace", p.namespace, "--issuer-ca-file", world.host.issuerCA(), "--output", "json")
	var diagnosis struct {
		Findings []struct{ Check, Status, Summary string } `json:"findings"`
	}
	if err := json.Unmarshal([]byte(text), &diagnosis); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	problems := map[string]string{}
	var summaries strings.Builder
	for _, finding := range diagnosis.Findings {
		if finding.Status != "ok" && finding.Status != "skipped" {
			problems[finding.Check] = finding.Status
			fmt.Fprintf(&summaries, "%s is %s: %s\n", finding.Check, finding.Status, finding.Summary)
		}
	}
	return problems, summaries.String(), code
}

// expectHealthy waits until doctor finds no problem. The API server and STS need a
// moment to see a fix.
func (p doctorTarget) expectHealthy(t *testing.T) {
	t.Helper()
	for _, target := range []string{"serviceaccount/" + targetName, "pod/" + targetName} {
		eventually(t, target+" is healthy", func(context.Context) error {
			if problems, summaries, code := p.examine(t, target); code != exitOK || len(problems) > 0 {
				return fmt.Errorf("exit code %d\n%s", code, summaries)
			}
			return nil
		})
	}
}

// expectDenied fails unless the guard denies a pod without a role. The guard does
// not need the webhook.
func (p doctorTarget) expectDenied(t *testing.T) {
	t.Helper()
	of := template("refused", targetName)
	_, err := world.client.CoreV1().Pods(p.namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "refused"}, Spec: of.Spec,
	}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "irsa-pod-identity-webhook-guard") {
		t.Errorf("got %v, want a denial by the guard", err)
	}
}

// fault is an injected fault. breaks injects it and fixes removes it.
type fault struct {
	name string
	// check is the check that must report it.
	check, target string
	breaks, fixes func(*testing.T, doctorTarget)
}

// annotate sets annotations of the ServiceAccount.
func annotate(annotations ...string) func(*testing.T, doctorTarget) {
	return func(t *testing.T, p doctorTarget) {
		t.Helper()
		for i := range annotations {
			annotations[i] = strings.ReplaceAll(annotations[i], "ROLE", p.roleARN())
		}
		p.kubectl(t, append([]string{"annotate", "--overwrite", "serviceaccount", targetName}, annotations...)...)
	}
}

// withPod returns a function that recreates the pod with the change.
func withPod(change func(*corev1.Pod)) func(*testing.T, doctorTarget) {
	return func(t *testing.T, p doctorTarget) {
		t.Helper()
		p.replacePod(t, change)
	}
}

const (
	roleAnnotation       = "eks.amazonaws.com/role-arn"
	webhookConfiguration = "mutatingwebhookconfiguration/irsa-pod-identity-webhook"
)

var faults = []fault{
	{
		name: "the ServiceAccount is deleted", check: "service_account",
		breaks: func(t *testing.T, p doctorTarget) { p.kubectl(t, "delete", "serviceaccount", targetName) },
		fixes:  func(t *testing.T, p doctorTarget) { giveRole(t, p.namespace, targetName) },
	},
	{
		name: "the annotation is misspelled", check: "role_annotation",
		breaks: annotate(roleAnnotation+"-", "eks.amazonaws.com/rolearn=ROLE"),
		fixes:  annotate(roleAnnotation+"=ROLE", "eks.amazonaws.com/rolearn-"),
	},
	{
		name: "the ARN is quoted", check: "annotations",
		breaks: annotate(roleAnnotation + `="ROLE"`),
		fixes:  annotate(roleAnnotation + "=ROLE"),
	},
	{
		name: "the webhook configuration is deleted", check: "webhook_registered",
		breaks: func(t *testing.T, _ doctorTarget) { kubectl(t, "delete", webhookConfiguration) },
		fixes:  reinstall,
	},
	{
		name: "the rules do not include pods", check: "webhook_rules",
		breaks: func(t *testing.T, _ doctorTarget) {
			kubectl(t, "patch", webhookConfiguration, "--type=json", `--patch=[{"op":"remove","path":"/webhooks/0/rules/0"}]`)
		},
		fixes: reinstall,
	},
	{
		name: "no replica runs", check: "webhook_endpoints",
		breaks: func(t *testing.T, p doctorTarget) {
			kubectl(t, "--namespace", release, "scale", "deployment", release, "--replicas=0")
			kubectl(t, "--namespace", release, "wait", "pods", "--all", "--for=delete", "--timeout=2m")
			p.expectDenied(t)
		},
		fixes: reinstall,
	},
	{
		name: "the pod has the skip label", check: "pod_injected", target: "pod",
		breaks: withPod(func(pod *corev1.Pod) { pod.Labels["eks.amazonaws.com/skip-pod-identity-webhook"] = "true" }),
		fixes:  withPod(nil),
	},
	{
		name: "access keys are in the environment", check: "pod_overrides", target: "pod",
		breaks: withPod(func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AWS_ACCESS_KEY_ID", Value: "AKIAOFSOMEBODYELSE00"}}
		}),
		fixes: withPod(nil),
	},
	{
		name: "the token is for another audience", check: "pod_token", target: "pod",
		breaks: func(t *testing.T, p doctorTarget) {
			annotate("eks.amazonaws.com/audience=vault")(t, p)
			p.replacePod(t, nil)
			annotate("eks.amazonaws.com/audience-")(t, p)
		},
		fixes: withPod(nil),
	},
	{
		name: "the issuer is not readable without credentials", check: "issuer_discovery",
		breaks: func(t *testing.T, _ doctorTarget) {
			kubectl(t, "delete", "clusterrolebinding", "service-account-issuer-discovery-for-everybody")
		},
		fixes: func(t *testing.T, _ doctorTarget) {
			kubectl(t, "apply", "-f", repopath.Path("deploy", "kind", "issuer-discovery.yaml"))
		},
	},
	{
		name: "IAM has no OIDC provider", check: "oidc_provider",
		breaks: func(t *testing.T, _ doctorTarget) { must(t, "provider", "delete", "--approve") },
		fixes:  func(t *testing.T, _ doctorTarget) { must(t, "provider", "create", "--approve") },
	},
	{
		name: "the role is deleted", check: "role_exists",
		breaks: func(t *testing.T, p doctorTarget) {
			if _, err := iam.NewFromConfig(admin()).DeleteRole(t.Context(), &iam.DeleteRoleInput{RoleName: aws.String(p.role())}); err != nil {
				t.Fatal(err)
			}
		},
		fixes: func(t *testing.T, p doctorTarget) { giveRole(t, p.namespace, targetName) },
	},
	{
		name: "the role trusts another namespace", check: "trust_policy",
		breaks: func(t *testing.T, p doctorTarget) {
			client := iam.NewFromConfig(admin())
			role, err := client.GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String(p.role())})
			if err != nil {
				t.Fatal(err)
			}
			// IAM returns policy documents URL-encoded.
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
		fixes: func(t *testing.T, p doctorTarget) { giveRole(t, p.namespace, targetName) },
	},
}

// reinstall restores all objects of the chart with helm.
func reinstall(t *testing.T, _ doctorTarget) {
	t.Helper()
	// kubectl owns the fields that it has changed.
	if err := world.Install(t.Context(), append(values(), "--force-conflicts")...); err != nil {
		t.Fatal(err)
	}
}

func TestDoctor(t *testing.T) {
	p := doctorTarget{newNamespace(t, nil)}
	giveRole(t, p.namespace, targetName)
	p.replacePod(t, nil)
	p.expectHealthy(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			f.breaks(t, p)
			target := "serviceaccount/" + targetName
			if f.target != "" {
				target = f.target + "/" + targetName
			}
			eventually(t, "doctor reports the fault", func(context.Context) error {
				if problems, summaries, code := p.examine(t, target); code != exitBroken || problems[f.check] != "broken" {
					return fmt.Errorf("exit code %d, %s is %q\n%s", code, f.check, problems[f.check], summaries)
				}
				return nil
			})
			f.fixes(t, p)
			p.expectHealthy(t)
		})
	}
}
