package chart_test

import (
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

func TestObjects_strictDecoding(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		if got := len(decode(t, manifests)); got < 8 {
			t.Errorf("got %d objects", got)
		}
	})
}

func TestDeployment_restrictedPodSecurity(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		template := one[*appsv1.Deployment](t, decode(t, manifests)).Spec.Template
		template.Spec.HostNetwork = false // only the level privileged allows it; check everything else
		result := policy.AggregateCheckResults(evaluator.EvaluatePod(
			podsecurity.LevelVersion{Level: podsecurity.LevelRestricted, Version: podsecurity.LatestVersion()}, &template.ObjectMeta, &template.Spec))
		if !result.Allowed {
			t.Error(result.ForbiddenDetail())
		}
		for _, container := range template.Spec.Containers {
			if context := container.SecurityContext; context.ReadOnlyRootFilesystem == nil || !*context.ReadOnlyRootFilesystem {
				t.Errorf("container %s can write its root filesystem", container.Name)
			}
		}
	})
}

func TestSelectors_matchPods(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		objects := decode(t, manifests)
		deployment := one[*appsv1.Deployment](t, objects)
		pod := labels.Set(deployment.Spec.Template.Labels)
		selectors := map[string]*metav1.LabelSelector{
			"Deployment":          deployment.Spec.Selector,
			"PodDisruptionBudget": one[*policyv1.PodDisruptionBudget](t, objects).Spec.Selector,
		}
		for _, service := range all[*corev1.Service](objects) {
			selectors["Service "+service.Name] = &metav1.LabelSelector{MatchLabels: service.Spec.Selector}
		}
		for _, networkPolicy := range all[*networkingv1.NetworkPolicy](objects) {
			selectors["NetworkPolicy"] = &networkPolicy.Spec.PodSelector
		}
		for i, constraint := range deployment.Spec.Template.Spec.TopologySpreadConstraints {
			selectors[fmt.Sprintf("topology spread constraint %d", i)] = constraint.LabelSelector
		}
		for of, selector := range selectors {
			parsed, err := metav1.LabelSelectorAsSelector(selector)
			if err != nil || parsed.Empty() || !parsed.Matches(pod) {
				t.Errorf("%s: the selector %v does not match the pod labels %v (%v)", of, parsed, pod, err)
			}
		}
	})
}

// TestPorts_consistent checks that the names and numbers of ports match, from the
// Service to the webhook's listeners.
func TestPorts_consistent(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		objects := decode(t, manifests)
		container := one[*appsv1.Deployment](t, objects).Spec.Template.Spec.Containers[0]
		byName := map[string]int32{}
		for _, port := range container.Ports {
			byName[port.Name] = port.ContainerPort
		}
		for name, flag := range map[string]string{"https": "--port", "metrics": "--metrics-port"} {
			if want := fmt.Sprintf("%s=%d", flag, byName[name]); !slices.Contains(container.Args, want) {
				t.Errorf("the container lacks the argument %s", want)
			}
		}
		targets := map[string]int32{}
		for _, service := range all[*corev1.Service](objects) {
			for _, port := range service.Spec.Ports {
				if _, has := byName[port.TargetPort.StrVal]; !has {
					t.Errorf("Service %s: the container has no port %s", service.Name, &port.TargetPort)
				}
				targets[service.Name+"/"+port.TargetPort.StrVal] = port.Port
			}
		}
		for at, client := range clientConfigs(objects) {
			service := client.Service
			if service.Namespace != namespace || targets[service.Name+"/https"] != *service.Port {
				t.Errorf("%s calls port %d of Service %s/%s, which does not exist", at, *service.Port, service.Namespace, service.Name)
			}
		}
	})
}

func clientConfigs(objects []runtime.Object) map[string]admissionregistrationv1.WebhookClientConfig {
	found := map[string]admissionregistrationv1.WebhookClientConfig{}
	for _, configuration := range all[*admissionregistrationv1.MutatingWebhookConfiguration](objects) {
		for _, webhook := range configuration.Webhooks {
			found[webhook.Name] = webhook.ClientConfig
		}
	}
	for _, configuration := range all[*admissionregistrationv1.ValidatingWebhookConfiguration](objects) {
		for _, webhook := range configuration.Webhooks {
			found[webhook.Name] = webhook.ClientConfig
		}
	}
	return found
}

// TestDeployment_terminationGracePeriod compares the grace period with the flags for
// the duration of a shutdown.
func TestDeployment_terminationGracePeriod(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		pod := one[*appsv1.Deployment](t, decode(t, manifests)).Spec.Template.Spec
		var shutdown time.Duration
		for _, flag := range []string{"--shutdown-delay=", "--shutdown-timeout="} {
			value := flagValue(t, pod.Containers[0].Args, flag)
			took, err := time.ParseDuration(value)
			if err != nil {
				t.Fatal(err)
			}
			shutdown += took
		}
		if grace := time.Duration(*pod.TerminationGracePeriodSeconds) * time.Second; grace <= shutdown {
			t.Errorf("got grace period %s, want at least the %s of a shutdown", grace, shutdown)
		}
	})
}

func flagValue(t *testing.T, args []string, flag string) string {
	t.Helper()
	for _, arg := range args {
		if value, is := strings.CutPrefix(arg, flag); is {
			return value
		}
	}
	t.Fatalf("got no %s in %v", flag, args)
	return ""
}

// TestDeployment_flagsExist compares the chart's flags with the generated reference of
// flags.
func TestDeployment_flagsExist(t *testing.T) {
	reference, err := os.ReadFile(repopath.Path("docs", "reference", "flags-and-annotations.md"))
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, flag := range regexp.MustCompile("(?m)^\\| `(--?[a-z-]+)`").FindAllStringSubmatch(string(reference), -1) {
		known[flag[1]] = true
	}
	given := map[string]bool{}
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		for _, arg := range one[*appsv1.Deployment](t, decode(t, manifests)).Spec.Template.Spec.Containers[0].Args {
			flag, _, _ := strings.Cut(arg, "=")
			given[flag] = true
		}
	})
	for _, flag := range slices.Sorted(maps.Keys(given)) {
		if !known[flag] {
			t.Errorf("the webhook has no flag %s", flag)
		}
	}
}

// TestRBAC_matchesFeatures compares the permissions with the expected ones for each
// feature.
func TestRBAC_matchesFeatures(t *testing.T) {
	serviceAccounts := "/serviceaccounts get,list,watch"
	configurations := "admissionregistration.k8s.io/mutatingwebhookconfigurations,validatingwebhookconfigurations [irsa-pod-identity-webhook] get,list,watch,patch"
	secret := "/secrets [pod-identity-webhook] get,list,watch,create,patch"
	for _, test := range []struct {
		name                string
		values              []string
		clusterWide, within []string
	}{
		{"self-managed certificates", nil, []string{serviceAccounts, configurations}, []string{secret}},
		{"certificates by cert-manager", []string{"certificates.source=cert-manager"}, []string{serviceAccounts}, nil},
		{
			"role ConfigMap",
			[]string{"certificates.source=cert-manager", "watchConfigMap=true"},
			[]string{serviceAccounts},
			[]string{"/configmaps [pod-identity-webhook] get,list,watch", "/events create"},
		},
		{
			"role policies",
			[]string{"rolePolicy=require"},
			[]string{serviceAccounts, "/namespaces get,list,watch", configurations},
			[]string{secret},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			manifests, err := chart.Render(t.Context(), namespace, test.values...)
			if err != nil {
				t.Fatal(err)
			}
			objects := decode(t, manifests)
			if got := permissions(one[*rbacv1.ClusterRole](t, objects).Rules); !slices.Equal(got, test.clusterWide) {
				t.Errorf("cluster-wide: got %q, want %q", got, test.clusterWide)
			}
			var within []string
			for _, role := range all[*rbacv1.Role](objects) {
				within = append(within, permissions(role.Rules)...)
			}
			if !slices.Equal(within, test.within) {
				t.Errorf("in the namespace: got %q, want %q", within, test.within)
			}
		})
	}
}

func permissions(rules []rbacv1.PolicyRule) []string {
	var rendered []string
	for _, rule := range rules {
		right := strings.Join(rule.APIGroups, ",") + "/" + strings.Join(rule.Resources, ",")
		if len(rule.ResourceNames) > 0 {
			right += fmt.Sprintf(" %s", rule.ResourceNames)
		}
		rendered = append(rendered, right+" "+strings.Join(rule.Verbs, ","))
	}
	return rendered
}

// TestWebhookConfigurations_noCABundle requires that the chart sets no caBundle: each
// upgrade would overwrite the published one.
func TestWebhookConfigurations_noCABundle(t *testing.T) {
	for _, source := range []string{"self", "cert-manager"} {
		manifests, err := chart.Render(t.Context(), namespace, "certificates.source="+source)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(manifests), "caBundle") {
			t.Errorf("source %s: got a caBundle, want none", source)
		}
	}
}

// entry is an entry of a mutating or validating webhook configuration.
type entry struct {
	name, path    string
	operation     admissionregistrationv1.OperationType
	resource      string
	failurePolicy admissionregistrationv1.FailurePolicyType
	selector      labels.Selector
	conditions    []string
}

func entries(t *testing.T, objects []runtime.Object) []entry {
	t.Helper()
	var found []entry
	add := func(name string, client admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations,
		policy *admissionregistrationv1.FailurePolicyType, labelSelector *metav1.LabelSelector, conditions []admissionregistrationv1.MatchCondition,
	) {
		selector, err := metav1.LabelSelectorAsSelector(labelSelector)
		if err != nil {
			t.Fatal(err)
		}
		e := entry{
			name: name, path: *client.Service.Path, operation: rules[0].Operations[0], resource: rules[0].Resources[0],
			failurePolicy: *policy, selector: selector,
		}
		for _, condition := range conditions {
			e.conditions = append(e.conditions, condition.Name)
		}
		found = append(found, e)
	}
	for _, configuration := range all[*admissionregistrationv1.MutatingWebhookConfiguration](objects) {
		for _, w := range configuration.Webhooks {
			add(w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.NamespaceSelector, w.MatchConditions)
		}
	}
	for _, configuration := range all[*admissionregistrationv1.ValidatingWebhookConfiguration](objects) {
		for _, w := range configuration.Webhooks {
			add(w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.NamespaceSelector, w.MatchConditions)
		}
	}
	return found
}

// TestWebhooks_namespaces checks for which namespaces the API server calls each entry,
// and with which failurePolicy. Pods of kube-system, ephemeral containers, and the
// webhook's own dependencies must never depend on the webhook.
func TestWebhooks_namespaces(t *testing.T) {
	const pods, ephemeral, accounts = "pods", "pods/ephemeralcontainers", "serviceaccounts"
	for _, test := range []struct {
		mode, release string
		values        []string
		namespace     string
		optedIn       bool
		// want maps resources to failurePolicies; absent if the entry is not called.
		want map[string]string
	}{
		{"cluster-wide", "identities", nil, "team", false, map[string]string{pods: "Fail", ephemeral: "Ignore", accounts: "Fail Ignore"}},
		{"cluster-wide", "identities", nil, "kube-system", false, map[string]string{pods: "Ignore", ephemeral: "Ignore", accounts: "Ignore"}},
		{"cluster-wide", "identities", nil, "identities", false, nil},
		{"cluster-wide", "identities", []string{"excludedNamespaces={monitoring}"}, "monitoring", true, nil},
		{"cluster-wide", "identities", []string{"excludedNamespaces={monitoring,kube-system}"}, "kube-system", true, nil},
		{"cluster-wide", "kube-system", nil, "kube-system", true, nil},
		{"opt-in", "identities", nil, "team", false, nil},
		{"opt-in", "identities", nil, "team", true, map[string]string{pods: "Fail", ephemeral: "Ignore", accounts: "Fail Ignore"}},
		{"opt-in", "identities", nil, "kube-system", false, nil},
		{"opt-in", "identities", nil, "kube-system", true, map[string]string{pods: "Ignore", ephemeral: "Ignore", accounts: "Ignore"}},
		{"opt-in", "identities", nil, "identities", true, nil},
	} {
		values := append(slices.Clone(test.values), "mode="+test.mode, "failurePolicy=Fail", "serviceAccountValidation=deny")
		manifests, err := chart.Render(t.Context(), test.release, values...)
		if err != nil {
			t.Fatal(err)
		}
		namespace := labels.Set{"kubernetes.io/metadata.name": test.namespace}
		if test.optedIn {
			namespace["eks.amazonaws.com/pod-identity-webhook"] = "enabled"
		}
		got := map[string]string{}
		for _, e := range entries(t, decode(t, manifests)) {
			if e.selector.Matches(namespace) {
				got[e.resource] = strings.TrimSpace(got[e.resource] + " " + string(e.failurePolicy))
			}
		}
		if !maps.Equal(got, test.want) {
			t.Errorf("%s in %s with %v: namespace %s: got %v, want %v", test.mode, test.release, test.values, test.namespace, got, test.want)
		}
	}
}

// TestWebhooks_entries checks the properties of each entry that no value changes.
func TestWebhooks_entries(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		for _, e := range entries(t, decode(t, manifests)) {
			if !strings.HasSuffix(e.name, ".pod-identity-webhook.internal") {
				t.Errorf("got name %s, want suffix .pod-identity-webhook.internal", e.name)
			}
			want := "no-mirror-pods"
			if e.resource == "serviceaccounts" {
				want = "has-annotations"
			}
			if len(e.conditions) == 0 || e.conditions[0] != want {
				t.Errorf("%s: got conditions %v, want %s first", e.name, e.conditions, want)
			}
			if e.resource == "pods/ephemeralcontainers" && (e.failurePolicy != admissionregistrationv1.Ignore || e.operation != admissionregistrationv1.Update) {
				t.Errorf("%s: got %s with failurePolicy %s, want UPDATE with Ignore", e.name, e.operation, e.failurePolicy)
			}
		}
	})
}

// TestNames_outsideNamespaces uses release names that are names of objects of EKS, kOps
// and AWS's manifests.
func TestNames_outsideNamespaces(t *testing.T) {
	for _, args := range [][]string{
		{"pod-identity-webhook"},
		{"eks"},
		{"vpc-resource-mutating-webhook"},
		{"irsa"},
		{"aws", "--set=fullnameOverride=pod-identity-webhook"},
		{strings.Repeat("a", 53)},
	} {
		manifests, err := chart.TemplateOf(t.Context(), args[0], namespace, append(args[1:], "--set=serviceAccountValidation=deny")...)
		if err != nil {
			t.Fatal(err)
		}
		kinds := 0
		for _, object := range decode(t, manifests) {
			object, err := meta.Accessor(object)
			if err != nil {
				t.Fatal(err)
			}
			if object.GetNamespace() != "" {
				continue
			}
			kinds++
			if !strings.HasPrefix(object.GetName(), "irsa-") {
				t.Errorf("release %s: got name of %T %s, want prefix irsa-", args[0], object, object.GetName())
			}
		}
		if kinds < 6 {
			t.Errorf("release %s: got %d cluster-scoped objects, want 6 or more", args[0], kinds)
		}
	}
}

// TestGuard_namespaces requires the guard in all namespaces in which the webhook is
// called, except those in the guard's own list.
func TestGuard_namespaces(t *testing.T) {
	manifests, err := chart.Render(t.Context(), "identities", "excludedNamespaces={monitoring}", "guard.excludedNamespaces={kube-system,batch}")
	if err != nil {
		t.Fatal(err)
	}
	policy := one[*admissionregistrationv1.ValidatingAdmissionPolicy](t, decode(t, manifests))
	selector, err := metav1.LabelSelectorAsSelector(policy.Spec.MatchConstraints.NamespaceSelector)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"team": true, "monitoring": false, "batch": false, "kube-system": false, "identities": false} {
		if got := selector.Matches(labels.Set{"kubernetes.io/metadata.name": name}); got != want {
			t.Errorf("namespace %s: got guarded %t, want %t", name, got, want)
		}
	}
}

func TestGuard_rendered(t *testing.T) {
	for values, want := range map[string]int{"": 1, "guard.enabled=true": 1, "guard.enabled=false": 0} {
		var set []string
		if values != "" {
			set = append(set, values)
		}
		manifests, err := chart.Render(t.Context(), namespace, set...)
		if err != nil {
			t.Fatal(err)
		}
		objects := decode(t, manifests)
		policies, bindings := all[*admissionregistrationv1.ValidatingAdmissionPolicy](objects), all[*admissionregistrationv1.ValidatingAdmissionPolicyBinding](objects)
		if len(policies) != want || len(bindings) != want {
			t.Errorf("%q: got %d policies and %d bindings, want %d", values, len(policies), len(bindings), want)
		}
	}
}
