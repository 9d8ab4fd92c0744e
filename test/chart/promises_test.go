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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repository"
)

func TestEachObjectHasOnlyFieldsOfItsType(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		if got := len(decode(t, manifests)); got < 8 {
			t.Errorf("there are %d objects", got)
		}
	})
}

func TestThePodsMeetTheRestrictedPodSecurityStandard(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		template := one[*appsv1.Deployment](t, decode(t, manifests)).Spec.Template
		template.Spec.HostNetwork = false // which only the level privileged allows; in all else the pods are to be restricted
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

func TestAllSelectorsChooseThePods(t *testing.T) {
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
				t.Errorf("%s: the selector %v does not choose pods with labels %v (%v)", of, parsed, pod, err)
			}
		}
	})
}

// TestThePortsMeet follows a call from the Service to what the webhook listens
// on, by name and by number.
func TestThePortsMeet(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		objects := decode(t, manifests)
		container := one[*appsv1.Deployment](t, objects).Spec.Template.Spec.Containers[0]
		byName := map[string]int32{}
		for _, port := range container.Ports {
			byName[port.Name] = port.ContainerPort
		}
		for name, flag := range map[string]string{"https": "--port", "metrics": "--metrics-port"} {
			if want := fmt.Sprintf("%s=%d", flag, byName[name]); !slices.Contains(container.Args, want) {
				t.Errorf("the container does not run with %s", want)
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
				t.Errorf("%s calls port %d of Service %s/%s, which is not there", at, *service.Port, service.Namespace, service.Name)
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

// TestAReplicaIsNotKilledWhileItStops compares the grace period with the flags
// that say how long a shutdown takes.
func TestAReplicaIsNotKilledWhileItStops(t *testing.T) {
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
			t.Errorf("the grace period is %s, a shutdown takes %s", grace, shutdown)
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
	t.Fatalf("no %s among %v", flag, args)
	return ""
}

// TestTheWebhookHasEachFlagThatTheChartGives reads the reference, which a test
// of the webhook holds to its flags.
func TestTheWebhookHasEachFlagThatTheChartGives(t *testing.T) {
	reference, err := os.ReadFile(repository.Path("docs", "reference.md"))
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

// TestTheRightsAreThoseOfWhatIsTurnedOn has the rights for each way of use, and
// fails for one more and for one less.
func TestTheRightsAreThoseOfWhatIsTurnedOn(t *testing.T) {
	serviceAccounts := "/serviceaccounts get,list,watch"
	configurations := "admissionregistration.k8s.io/mutatingwebhookconfigurations,validatingwebhookconfigurations [pod-identity-webhook] get,list,watch,patch"
	secret := "/secrets [pod-identity-webhook] get,list,watch,create,patch"
	for _, test := range []struct {
		name                string
		values              []string
		clusterWide, within []string
	}{
		{"certificates of its own", nil, []string{serviceAccounts, configurations}, []string{secret}},
		{"certificates of others", []string{"certificates.source=cert-manager"}, []string{serviceAccounts}, nil},
		{
			"the ConfigMap of roles",
			[]string{"certificates.source=cert-manager", "watchConfigMap=true"},
			[]string{serviceAccounts},
			[]string{"/configmaps [pod-identity-webhook] get,list,watch", "/events create"},
		},
		{
			"policies about roles",
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
			if got := rights(one[*rbacv1.ClusterRole](t, objects).Rules); !slices.Equal(got, test.clusterWide) {
				t.Errorf("in the cluster: %q, want %q", got, test.clusterWide)
			}
			var within []string
			for _, role := range all[*rbacv1.Role](objects) {
				within = append(within, rights(role.Rules)...)
			}
			if !slices.Equal(within, test.within) {
				t.Errorf("in its namespace: %q, want %q", within, test.within)
			}
		})
	}
}

func rights(rules []rbacv1.PolicyRule) []string {
	var said []string
	for _, rule := range rules {
		right := strings.Join(rule.APIGroups, ",") + "/" + strings.Join(rule.Resources, ",")
		if len(rule.ResourceNames) > 0 {
			right += fmt.Sprintf(" %s", rule.ResourceNames)
		}
		said = append(said, right+" "+strings.Join(rule.Verbs, ","))
	}
	return said
}

// TestTheChartLeavesTheCABundleToWhoKeepsIt would fail for a chart that empties
// the caBundle again with each upgrade.
func TestTheChartLeavesTheCABundleToWhoKeepsIt(t *testing.T) {
	for _, source := range []string{"self", "cert-manager"} {
		manifests, err := chart.Render(t.Context(), namespace, "certificates.source="+source)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(manifests), "caBundle") {
			t.Errorf("with the source %s the chart writes a caBundle", source)
		}
	}
}

// TestTheWebhookDependsOnNothingItIsAskedAbout has the namespaces whose pods and
// ServiceAccounts must come up before the webhook can.
func TestTheWebhookDependsOnNothingItIsAskedAbout(t *testing.T) {
	for _, mode := range []string{"cluster-wide", "opt-in"} {
		manifests, err := chart.Render(t.Context(), "identities", "mode="+mode, "excludedNamespaces={monitoring}", "serviceAccountValidation=deny")
		if err != nil {
			t.Fatal(err)
		}
		objects := decode(t, manifests)
		selectors := map[string]*metav1.LabelSelector{
			"pods":            one[*admissionregistrationv1.MutatingWebhookConfiguration](t, objects).Webhooks[0].NamespaceSelector,
			"ServiceAccounts": one[*admissionregistrationv1.ValidatingWebhookConfiguration](t, objects).Webhooks[0].NamespaceSelector,
		}
		for of, labelSelector := range selectors {
			selector, err := metav1.LabelSelectorAsSelector(labelSelector)
			if err != nil {
				t.Fatal(err)
			}
			for _, test := range []struct {
				namespace string
				optedIn   bool
				called    bool
			}{
				{"team", false, mode == "cluster-wide"},
				{"team", true, true},
				{"kube-system", true, false},
				{"identities", true, false},
				{"monitoring", true, false},
			} {
				namespace := labels.Set{"kubernetes.io/metadata.name": test.namespace}
				if test.optedIn {
					namespace["eks.amazonaws.com/pod-identity-webhook"] = "enabled"
				}
				if got := selector.Matches(namespace); got != test.called {
					t.Errorf("%s: called for the %s of a namespace with %v: %t, want %t", mode, of, namespace, got, test.called)
				}
			}
		}
	}
}
