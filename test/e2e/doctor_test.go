package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

var update = flag.Bool("update", false, "write doctor's output into docs/troubleshooting.md instead of comparing it")

// The exit codes in docs/kubectl-irsa.md.
const (
	exitOK      = 0
	exitBroken  = 2
	exitUnknown = 3
)

// doctorOutput has the fields of doctor's JSON output that the tests read.
type doctorOutput struct {
	Status   string `json:"status"`
	Findings []struct {
		Check, Status, Summary, Why, Fix string
	} `json:"findings"`
	ServiceAccounts []doctorOutput `json:"serviceAccounts"`
}

// fault is an injected fault.
type fault struct {
	// name is the name of the example in docs/troubleshooting.md.
	name string
	// make injects the fault into a cluster without faults.
	make func(*testing.T, *doctorEnv)
	// target is the target for doctor; empty for the ServiceAccount.
	target string
	// check is the check that must report it. Its status is broken by default.
	check, status string
	// fixes is the effect of doctor's fix. It is "all" if all checks are ok afterwards, and
	// "check" if only this check is. It is "" if doctor cannot know a fix.
	fixes string
	// after does what a user must do after the fix.
	after func(*testing.T, *doctorEnv)
}

// faults are the faults on the troubleshooting page, in its order.
var faults = []fault{
	{
		name: "the ServiceAccount does not exist", check: "service_account", fixes: "check",
		make: func(t *testing.T, c *doctorEnv) { c.must(t, "kubectl delete serviceaccount cart -n shop") },
	},
	{
		name: "the annotation is misspelled", check: "role_annotation", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/role-arn- eks.amazonaws.com/rolearn="+cartRoleARN)
		},
	},
	{
		name: "there is no annotation", check: "role_annotation",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/role-arn-")
		},
	},
	{
		name: "the ARN has quotes in it", check: "annotations", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, `kubectl annotate --overwrite serviceaccount cart -n shop eks.amazonaws.com/role-arn='"`+cartRoleARN+`"'`)
		},
	},
	{
		name: "no webhook is registered", check: "webhook_registered",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl delete mutatingwebhookconfiguration pod-identity-webhook")
		},
	},
	{
		name: "the rules leave pods out", check: "webhook_rules", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, `kubectl patch mutatingwebhookconfiguration pod-identity-webhook --type=json -p='[{"op":"remove","path":"/webhooks/0/rules/0"}]'`)
			c.waitForIdentity(t, false)
		},
		after: func(t *testing.T, c *doctorEnv) { c.waitForIdentity(t, true) },
	},
	{
		name: "the namespace is not opted in", check: "webhook_namespace", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, `kubectl patch mutatingwebhookconfiguration pod-identity-webhook --type=json -p='[{"op":"add","path":"/webhooks/0/namespaceSelector","value":{"matchLabels":{"eks.amazonaws.com/pod-identity-webhook":"enabled"}}}]'`)
			c.waitForIdentity(t, false)
		},
		after: func(t *testing.T, c *doctorEnv) { c.waitForIdentity(t, true) },
	},
	{
		name: "the webhook does not answer", check: "webhook_reachable",
		make: func(_ *testing.T, c *doctorEnv) { c.webhook.Kill() },
	},
	{
		name: "the caBundle is another's", check: "webhook_certificate", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, `kubectl patch mutatingwebhookconfiguration pod-identity-webhook --type=json -p='[{"op":"add","path":"/webhooks/0/clientConfig/caBundle","value":"'$(base64 -w0 issuer-ca.pem)'"}]'`)
			c.waitRegistered(t, "the API server distrusts the webhook", func(ctx context.Context) error {
				if _, err := c.admitted(ctx); err == nil {
					return fmt.Errorf("a pod was admitted")
				}
				return nil
			})
		},
		after: func(t *testing.T, c *doctorEnv) { c.waitForIdentity(t, true) },
	},
	{
		name: "the pod is older than the annotation", target: "pod/cart", check: "pod_injected", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/role-arn-")
			c.replacePod(t, nil)
			c.waitForNextSecond(t)
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/role-arn="+cartRoleARN)
		},
	},
	{
		name: "the webhook was down when the pod was created", target: "pod/cart", check: "pod_injected", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			if err := c.webhook.Register(t.Context(), c.client, webhookprocess.RegisterOptions{FailurePolicy: "Ignore"}); err != nil {
				t.Fatal(err)
			}
			c.must(t, "kubectl patch mutatingwebhookconfiguration pod-identity-webhook --type=json -p='[{\"op\":\"test\",\"path\":\"/webhooks/0/failurePolicy\",\"value\":\"Ignore\"}]'")
			c.webhook.Kill()
			c.waitForIdentity(t, false)
			c.waitForNextSecond(t)
			c.replacePod(t, nil)
			if err := c.webhook.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			c.waitForIdentity(t, true)
		},
	},
	{
		name: "the pod is to be skipped", target: "pod/cart", check: "pod_injected", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.replacePod(t, func(pod *corev1.Pod) {
				pod.Labels = map[string]string{"eks.amazonaws.com/skip-pod-identity-webhook": "true"}
			})
		},
	},
	{
		name: "all containers are to be skipped", target: "pod/cart", check: "pod_injected", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.replacePod(t, func(pod *corev1.Pod) {
				pod.Annotations = map[string]string{"eks.amazonaws.com/skip-containers": "app"}
			})
		},
	},
	{
		name: "the token is for another audience", target: "pod/cart", check: "pod_token", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/audience=vault")
			c.replacePod(t, nil)
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/audience-")
		},
	},
	{
		name: "the pod has the role of before", target: "pod/cart", check: "pod_environment", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate --overwrite serviceaccount cart -n shop eks.amazonaws.com/role-arn=arn:aws:iam::111122223333:role/before")
			c.replacePod(t, nil)
			c.must(t, "kubectl annotate --overwrite serviceaccount cart -n shop eks.amazonaws.com/role-arn="+cartRoleARN)
		},
	},
	{
		name: "keys are in the environment", target: "pod/cart", check: "pod_overrides", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.replacePod(t, func(pod *corev1.Pod) {
				env := &pod.Spec.Containers[0].Env
				*env = append(*env, corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: secret})
			})
		},
	},
	{
		name: "keys come from a Secret", target: "pod/cart", check: "pod_overrides", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl create secret generic cart-config -n shop --from-literal=AWS_ACCESS_KEY_ID="+secret)
			c.replacePod(t, func(pod *corev1.Pod) {
				pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
					LocalObjectReference: corev1.LocalObjectReference{Name: "cart-config"},
				}}}
			})
		},
	},
	{
		name: "a profile is in the environment", target: "pod/cart", check: "pod_overrides", status: "warning", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.replacePod(t, func(pod *corev1.Pod) {
				env := &pod.Spec.Containers[0].Env
				*env = append(*env, corev1.EnvVar{Name: "AWS_PROFILE", Value: "production"})
			})
		},
	},
	{
		name: "the issuer cannot be read", check: "issuer_discovery",
		make: func(_ *testing.T, c *doctorEnv) { c.issuer.fault.Store("down") },
	},
	{
		name: "the key that signs is not published", check: "issuer_signing_key", fixes: "all",
		make: func(_ *testing.T, c *doctorEnv) { c.issuer.fault.Store("foreign key") },
		after: func(t *testing.T, c *doctorEnv) {
			c.issuer.upload(filepath.Join(c.dir, "site"))
			// local-sts reads the keys of an issuer at most once per second.
			eventually(t, "STS has the keys", func(context.Context) error {
				if text, code := c.doctor(t, "sa/cart", "--problems-only"); code != exitOK {
					return errors.New(text)
				}
				return nil
			})
		},
	},
	{
		name: "IAM does not know the issuer", check: "oidc_provider", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) { c.deleteProvider(t) },
	},
	{
		name: "IAM knows another issuer", check: "oidc_provider", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.deleteProvider(t)
			c.createProvider(t, c.issuer.URL+"/prod", cartAudience)
		},
	},
	{
		name: "the provider does not accept the audience", check: "provider_audience", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.deleteProvider(t)
			c.createProvider(t, c.issuer.URL, "sts.eu-west-1.amazonaws.com")
		},
	},
	{
		name: "the role does not exist", check: "role_exists", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) { c.deleteRole(t, cartRole) },
	},
	{
		name: "the annotation lacks the path of the role", check: "role_exists",
		make: func(t *testing.T, c *doctorEnv) {
			c.deleteRole(t, cartRole)
			c.must(t, "kubectl irsa serviceaccount create cart -n shop --role-name shop-cart --path /team/ --role-only --approve")
		},
		fixes: "check",
	},
	{
		name: "the role is in another account", check: "sts_exchange",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate --overwrite serviceaccount cart -n shop eks.amazonaws.com/role-arn=arn:aws:iam::444455556666:role/shop-cart")
			c.replacePod(t, nil)
		},
	},
	{
		name: "the trust policy is for another namespace", check: "trust_policy", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.trust(t, c.providerARN(), c.conditions("StringEquals", "system:serviceaccount:store:cart"))
		},
	},
	{
		name: "a wildcard is compared by StringEquals", check: "trust_policy", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.trust(t, c.providerARN(), c.conditions("StringEquals", "system:serviceaccount:shop:*"))
		},
	},
	{
		name: "the trust policy is for another provider", check: "trust_policy", fixes: "all",
		make: func(t *testing.T, c *doctorEnv) {
			c.trust(t, c.providerARN()+"/prod", c.conditions("StringEquals", "system:serviceaccount:shop:cart"))
		},
	},
	{
		name: "STS cannot be reached", check: "sts_exchange", status: "unknown",
		make: func(t *testing.T, c *doctorEnv) {
			c.must(t, "kubectl annotate serviceaccount cart -n shop eks.amazonaws.com/sts-endpoint=http://127.0.0.1:1")
			c.replacePod(t, nil)
		},
	},
}

// conditions returns the conditions of a trust policy for a subject.
func (c *doctorEnv) conditions(operator, subject string) map[string]map[string]string {
	issuer := strings.TrimPrefix(c.issuer.URL, "https://")
	all := map[string]map[string]string{"StringEquals": {issuer + ":aud": cartAudience}}
	if all[operator] == nil {
		all[operator] = map[string]string{}
	}
	all[operator][issuer+":sub"] = subject
	return all
}

// waitForNextSecond waits until the API server's clock, with a resolution of one
// second, advances.
func (c *doctorEnv) waitForNextSecond(t *testing.T) {
	t.Helper()
	stamp := func(ctx context.Context) (metav1.Time, error) {
		made, err := c.client.CoreV1().ConfigMaps(testNamespace).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "clock"}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil {
			return metav1.Time{}, err
		}
		return made.CreationTimestamp, nil
	}
	began, err := stamp(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next second", func(ctx context.Context) error {
		now, err := stamp(ctx)
		if err == nil && !began.Before(&now) {
			err = fmt.Errorf("the API server's time is still %s", now)
		}
		return err
	})
}

// example returns an example of doctor's output on the troubleshooting page.
func example(page, name string) (text string, start, end int, ok bool) {
	marker := "<!-- doctor: " + name + " -->\n```text\n"
	start = strings.Index(page, marker)
	if start < 0 {
		return "", 0, 0, false
	}
	start += len(marker)
	length := strings.Index(page[start:], "```\n")
	if length < 0 {
		return "", 0, 0, false
	}
	return page[start : start+length], start, start + length, true
}

// compare compares doctor's output with the troubleshooting page, or writes it with
// -update.
func compare(t *testing.T, name, text string) {
	t.Helper()
	file := repopath.Path("docs", "troubleshooting.md")
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, start, end, ok := example(string(page), name)
	switch {
	case !ok:
		t.Errorf("docs/troubleshooting.md has no example %q", name)
	case *update:
		if err := os.WriteFile(file, []byte(string(page[:start])+text+string(page[end:])), 0o600); err != nil {
			t.Fatal(err)
		}
	case want != text:
		t.Errorf("docs/troubleshooting.md differs from doctor's output for %q (run with -update to write it):\n%s", name, cmp.Diff(want, text))
	}
}

// TestDoctor_faults injects one fault at a time. doctor must report it, and the command
// that it prints must fix it.
func TestDoctor_faults(t *testing.T) {
	c := newDoctorEnv(t)
	c.reset(t)
	t.Run("nothing is wrong", func(t *testing.T) { c.expectOK(t) })
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			c.reset(t)
			f.make(t, c)
			if f.target == "" {
				f.target = "sa/cart"
			}
			fix := c.expectFault(t, f)
			if f.fixes == "" {
				return
			}
			if fix == "" {
				t.Fatal("doctor printed no fix")
			}
			answer, err := c.shell(t, fix)
			if err != nil {
				t.Fatalf("%s: %v\n%s", fix, err, answer)
			}
			if f.after != nil {
				f.after(t, c)
			}
			c.expectFixed(t, f)
		})
	}
}

func (c *doctorEnv) examine(t *testing.T, args ...string) (doctorOutput, int) {
	t.Helper()
	text, code := c.doctor(t, append(args, "-o", "json")...)
	var findings doctorOutput
	if err := json.Unmarshal([]byte(text), &findings); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	c.expectNoSecrets(t, text)
	return findings, code
}

// expectNoSecrets fails if doctor printed a token or the value of a variable.
func (c *doctorEnv) expectNoSecrets(t *testing.T, text string) {
	t.Helper()
	for _, never := range []string{secret, "eyJ"} {
		if strings.Contains(text, never) {
			t.Errorf("doctor printed %q", never)
		}
	}
}

// expectOK fails unless all checks of each target are ok.
func (c *doctorEnv) expectOK(t *testing.T) {
	t.Helper()
	for _, target := range [][]string{{"sa/cart"}, {"pod", "cart"}, {"cart"}, {}} {
		findings, code := c.examine(t, target...)
		if findings.Status != "ok" || code != exitOK {
			text, _ := c.doctor(t, append(target, "--evidence")...)
			t.Errorf("doctor %v: status %s, exit code %d\n%s", target, findings.Status, code, text)
		}
	}
	text, _ := c.doctor(t, "pod/cart")
	c.expectNoSecrets(t, text)
	compare(t, "nothing is wrong", c.normalizeOutput(text))
	text, _ = c.doctor(t)
	compare(t, "the whole cluster", c.normalizeOutput(text))
}

// expectFault fails unless the check has the expected status. It returns the fix.
func (c *doctorEnv) expectFault(t *testing.T, f fault) string {
	t.Helper()
	if f.status == "" {
		f.status = "broken"
	}
	findings, code := c.examine(t, f.target)
	wantCode := map[string]int{"broken": exitBroken, "unknown": exitUnknown, "warning": exitOK}[f.status]
	if code != wantCode {
		t.Errorf("got exit code %d, want %d", code, wantCode)
	}
	text, _ := c.doctor(t, f.target, "--problems-only")
	compare(t, f.name, c.normalizeOutput(text))
	for _, finding := range findings.Findings {
		if finding.Check == f.check {
			if finding.Status != f.status {
				t.Errorf("check %s: got %s, want %s: %s", f.check, finding.Status, f.status, text)
			}
			return finding.Fix
		}
	}
	t.Fatalf("got no check %s: %s", f.check, text)
	return ""
}

// expectFixed fails unless the fix had the expected effect.
func (c *doctorEnv) expectFixed(t *testing.T, f fault) {
	t.Helper()
	findings, code := c.examine(t, f.target)
	at := slices.IndexFunc(findings.Findings, func(s struct{ Check, Status, Summary, Why, Fix string }) bool { return s.Check == f.check })
	if at < 0 || findings.Findings[at].Status != "ok" {
		text, _ := c.doctor(t, f.target)
		t.Fatalf("the fix did not fix check %s:\n%s", f.check, text)
	}
	if f.fixes == "all" && (findings.Status != "ok" || code != exitOK) {
		text, _ := c.doctor(t, f.target, "--problems-only")
		t.Errorf("after the fix: got status %s and exit code %d:\n%s", findings.Status, code, text)
	}
}

// expectPublishedPermissionsSuffice fails if doctor needs more permissions than the
// ClusterRole on the troubleshooting page.
func (c *doctorEnv) expectPublishedPermissionsSuffice(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile(repopath.Path("docs", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(page), "```yaml\n")
	manifest, _, ended := strings.Cut(rest, "```\n")
	if !found || !ended {
		t.Fatal("docs/troubleshooting.md has no ClusterRole")
	}
	c.write(t, "role.yaml", []byte(manifest))
	c.must(t, `kubectl apply -f role.yaml && kubectl create serviceaccount doctor-user -n shop &&
kubectl create clusterrolebinding doctor-user --clusterrole=kubectl-irsa-doctor --serviceaccount=shop:doctor-user`)
	c.must(t, "kubectl create secret generic harmless -n shop --from-literal=COLOR=blue")
	c.replacePod(t, func(pod *corev1.Pod) {
		pod.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "harmless"},
		}}}
	})
	for _, target := range [][]string{{"sa/cart"}, {"pod/cart"}, {}} {
		if findings, code := c.examine(t, append(target, "--as=system:serviceaccount:shop:doctor-user")...); findings.Status != "ok" || code != exitOK {
			text, _ := c.doctor(t, append(target, "--problems-only", "--as=system:serviceaccount:shop:doctor-user")...)
			t.Errorf("with the permissions of the page, doctor %v: got status %s: %s", target, findings.Status, text)
		}
	}
}

// TestDoctor_cluster checks many ServiceAccounts, some of them with faults.
func TestDoctor_cluster(t *testing.T) {
	c := newDoctorEnv(t)
	c.reset(t)
	c.must(t, "kubectl create serviceaccount typo -n shop && kubectl annotate serviceaccount typo -n shop eks.amazonaws.com/rolearn="+cartRoleARN)
	c.must(t, "kubectl create serviceaccount other -n shop && kubectl annotate serviceaccount other -n shop eks.amazonaws.com/role-arn="+cartRoleARN)
	c.must(t, "kubectl create serviceaccount plain -n shop")
	text, code := c.doctor(t)
	if code != exitBroken {
		t.Errorf("got exit code %d, want %d", code, exitBroken)
	}
	compare(t, "a cluster that is not well", c.normalizeOutput(text))
	for i := range 40 {
		account := serviceAccount(fmt.Sprintf("many-%02d", i), cartRoleARN)
		if _, err := c.client.CoreV1().ServiceAccounts(testNamespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	findings, _ := c.examine(t, "--no-exchange")
	if got := len(findings.ServiceAccounts); got != 43 {
		t.Errorf("got %d ServiceAccounts, want 43", got)
	}
}

// TestDoctor_missingPermissions runs doctor with few permissions.
func TestDoctor_missingPermissions(t *testing.T) {
	c := newDoctorEnv(t)
	c.reset(t)
	c.must(t, `kubectl create serviceaccount visitor -n shop
kubectl create role visitor -n shop --verb=get --resource=serviceaccounts
kubectl create rolebinding visitor -n shop --role=visitor --serviceaccount=shop:visitor`)
	text, code := c.doctor(t, "sa/cart", "--problems-only", "--as=system:serviceaccount:shop:visitor")
	if code != exitUnknown {
		t.Errorf("got exit code %d, want %d", code, exitUnknown)
	}
	compare(t, "few rights", c.normalizeOutput(text))
	findings, _ := c.examine(t, "sa/cart", "--as=system:serviceaccount:shop:visitor")
	blind := []string{"webhook_registered", "pod_injected", "token_request"}
	for _, finding := range findings.Findings {
		if slices.Contains(blind, finding.Check) && finding.Status != "unknown" {
			t.Errorf("check %s: got %s, want unknown: %s", finding.Check, finding.Status, finding.Summary)
		}
	}
	c.expectPublishedPermissionsSuffice(t)
	for _, target := range [][]string{{"pod/cart"}, {}} {
		if findings, code := c.examine(t, append(target, "--as=system:serviceaccount:shop:visitor")...); findings.Status != "unknown" || code != exitUnknown {
			t.Errorf("doctor %v: got status %s, exit code %d", target, findings.Status, code)
		}
	}
}
