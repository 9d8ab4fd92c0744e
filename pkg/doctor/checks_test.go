package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

const testRole = "arn:aws:iam::111122223333:role/cart"

// want is the expected finding. Each text must be a part of the finding's text.
type want struct {
	status            Status
	summary, why, fix string
}

func (w want) check(t *testing.T, got Finding) {
	t.Helper()
	if got.Status != w.status || !strings.Contains(got.Summary, w.summary) || !strings.Contains(got.Why, w.why) || !strings.Contains(Commands{}.write(got.Fix), w.fix) {
		t.Errorf("got  %+v\nwant %+v", got, w)
	}
	if w.fix == "" && got.Fix != "" && w.status == OK {
		t.Errorf("got fix %s, want none with status ok", got.Fix)
	}
}

func TestWorst(t *testing.T) {
	for name, test := range map[string]struct {
		statuses []Status
		want     Status
	}{
		"no findings are ok":              {nil, OK},
		"skipped findings are ignored":    {[]Status{Skipped}, OK},
		"a warning is worse than ok":      {[]Status{Warning, OK}, Warning},
		"unknown is worse than a warning": {[]Status{Warning, Unknown}, Unknown},
		"broken is worse than unknown":    {[]Status{Broken, Unknown, OK}, Broken},
	} {
		t.Run(name, func(t *testing.T) {
			var findings []Finding
			for _, status := range test.statuses {
				findings = append(findings, Finding{Status: status})
			}
			if got := Worst(findings); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestRunChecks_skipsDependents(t *testing.T) {
	fixed := func(status Status) func(context.Context, *checkState) Finding {
		return func(context.Context, *checkState) Finding { return Finding{Status: status} }
	}
	never := func(context.Context, *checkState) Finding {
		t.Error("got a call of a check that must be skipped")
		return Finding{}
	}
	findings := runChecks(t.Context(), []check{
		{"first", StepIAM, nil, fixed(Broken)},
		{"second", StepIAM, []Code{"first"}, never},
		{"third", StepIAM, []Code{"second"}, never},
		{"blind", StepIAM, nil, fixed(Unknown)},
		{"after", StepIAM, []Code{"blind"}, never},
		{"warned", StepIAM, nil, fixed(Warning)},
		{"last", StepIAM, []Code{"warned"}, fixed(OK)},
	}, &checkState{Doctor: &Doctor{}, status: map[Code]Status{}})
	want := []string{"", "skipped: check first is broken", "skipped: check second was skipped", "", "skipped: check blind is unknown", "", ""}
	for i, finding := range findings {
		if finding.Summary != want[i] {
			t.Errorf("%s: got %q, want %q", finding.Check, finding.Summary, want[i])
		}
	}
}

func TestChecks_order(t *testing.T) {
	seen := map[Code]bool{}
	for _, checks := range [][]check{accountChecks(), webhookChecks(), callChecks(), endpointChecks(), podChecks(), awsChecks()} {
		for _, c := range checks {
			if seen[c.code] {
				t.Errorf("got check %s twice", c.code)
			}
			for _, needed := range c.needs {
				if !seen[needed] {
					t.Errorf("got %s before %s, which it needs", c.code, needed)
				}
			}
			seen[c.code] = true
		}
	}
}

func TestReadErrorFinding_forbidden(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	for name, test := range map[string]struct {
		permission permission
		err        error
		want       want
	}{
		"of the core group": {permission{"list", "pods", "shop", ""}, forbidden, want{Unknown, "not allowed to list pods in namespace shop", `{apiGroups: [""], resources: ["pods"], verbs: ["list"]}`, ""}},
		"of another group":  {permission{verb: "get", resource: "endpointslices.discovery.k8s.io", name: "a"}, forbidden, want{Unknown, "get endpointslices.discovery.k8s.io/a", `apiGroups: ["discovery.k8s.io"]`, ""}},
		"no response":       {permission{verb: "get", resource: "pods"}, errors.New("timeout"), want{Unknown, "could not get pods: timeout", "", ""}},
		"not logged in":     {permission{verb: "get", resource: "pods"}, apierrors.NewUnauthorized("no token"), want{Unknown, "not allowed to get pods", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, readErrorFinding(test.permission, test.err)) })
	}
}

// configuration returns the webhook configuration of the Helm chart with a change.
func configuration(change func(*admissionregistrationv1.MutatingWebhook)) admissionregistrationv1.MutatingWebhookConfiguration {
	webhook := admissionregistrationv1.MutatingWebhook{
		Name: "pod-identity-webhook.amazonaws.com",
		ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{
			Namespace: "pod-identity-webhook", Name: "pod-identity-webhook", Path: new("/mutate"),
		}},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
		}},
		FailurePolicy: new(admissionregistrationv1.Fail),
	}
	if change != nil {
		change(&webhook)
	}
	return admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "pod-identity-webhook"}, Webhooks: []admissionregistrationv1.MutatingWebhook{webhook},
	}
}

func entryOf(change func(*admissionregistrationv1.MutatingWebhook)) *webhookEntry {
	return &findWebhooks([]admissionregistrationv1.MutatingWebhookConfiguration{configuration(change)}, "pod-identity-webhook")[0]
}

func TestFindWebhooks(t *testing.T) {
	other := configuration(func(w *admissionregistrationv1.MutatingWebhook) {
		w.Name, w.ClientConfig.Service.Name = "sidecars.example.com", "sidecars"
	})
	other.Name = "sidecars"
	eks := configuration(func(w *admissionregistrationv1.MutatingWebhook) {
		w.Name = eksName
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: new("https://127.0.0.1:23443/mutate")}
	})
	renamed := configuration(func(w *admissionregistrationv1.MutatingWebhook) {
		w.Name, w.ClientConfig.Service.Name = "irsa.example.com", "irsa"
	})
	renamed.Name = "irsa"
	pathless := configuration(func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.Service.Path = nil })
	broken := configuration(func(w *admissionregistrationv1.MutatingWebhook) { w.Rules = nil })
	type list = []admissionregistrationv1.MutatingWebhookConfiguration
	for name, test := range map[string]struct {
		configurations list
		name           string
		want           want
	}{
		"this webhook":                             {list{other, configuration(nil)}, "", want{OK, "MutatingWebhookConfiguration pod-identity-webhook", "", ""}},
		"the webhook that EKS manages":             {list{eks}, "", want{OK, eksName, "", ""}},
		"none":                                     {list{other}, "", want{Broken, "no MutatingWebhookConfiguration has", "/mutate", "helm upgrade --install"}},
		"another path":                             {list{pathless}, "", want{Broken, "no MutatingWebhookConfiguration has", "", ""}},
		"another name with --webhook-name":         {list{renamed}, "irsa", want{OK, "irsa.example.com", "", ""}},
		"another name without --webhook-name":      {list{renamed}, "", want{Broken, "no MutatingWebhookConfiguration has", "--webhook-name", ""}},
		"a missing name":                           {list{configuration(nil)}, "irsa", want{Broken, `MutatingWebhookConfiguration "irsa" does not exist`, "", ""}},
		"two that are called for pods":             {list{configuration(nil), eks}, "", want{Warning, "2 pod identity webhooks", "https://127.0.0.1:23443/mutate", ""}},
		"two, of which one is not called for pods": {list{broken, eks}, "", want{OK, eksName, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.check(t, evaluateRegistered(findWebhooks(test.configurations, test.name), test.name))
		})
	}
}

// TestWebhookView_namespace uses the webhook configuration of the Helm chart. It has an entry
// for all namespaces except two, one for kube-system, and one for ephemeral containers.
func TestWebhookView_namespace(t *testing.T) {
	named := func(operator metav1.LabelSelectorOperator, names ...string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: operator, Values: names},
			{Key: "opted", Operator: metav1.LabelSelectorOpExists},
		}}
	}
	chart := configuration(func(w *admissionregistrationv1.MutatingWebhook) {
		w.Name, w.NamespaceSelector = "pods.pod-identity-webhook.internal", named("NotIn", "pod-identity-webhook", "kube-system")
	})
	chart.Name = "irsa-pod-identity-webhook"
	ephemeral, kubeSystem := *chart.Webhooks[0].DeepCopy(), *chart.Webhooks[0].DeepCopy()
	ephemeral.Name, ephemeral.Rules = "ephemeralcontainers.pod-identity-webhook.internal", nil
	kubeSystem.Name, kubeSystem.NamespaceSelector = "kube-system.pod-identity-webhook.internal", named("In", "kube-system")
	kubeSystem.FailurePolicy = new(admissionregistrationv1.Ignore)
	chart.Webhooks = append(chart.Webhooks, ephemeral, kubeSystem)
	all := &webhookInfo{
		entries: findWebhooks([]admissionregistrationv1.MutatingWebhookConfiguration{chart}, ""),
		guards:  []*metav1.LabelSelector{named("NotIn", "pod-identity-webhook", "kube-system")},
	}
	for name, test := range map[string]struct {
		webhook                string
		ignores, served, guard bool
	}{
		"shop":                 {"pods.pod-identity-webhook.internal", false, true, true},
		"kube-system":          {"kube-system.pod-identity-webhook.internal", true, true, false},
		"pod-identity-webhook": {"pods.pod-identity-webhook.internal", false, false, false},
		"":                     {"pods.pod-identity-webhook.internal", false, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			view := all.in(name)
			want{OK, test.webhook, "", ""}.check(t, evaluateRegistered(view.entries, ""))
			if got := view.chosen().ignoresFailures(); got != test.ignores {
				t.Errorf("failurePolicy Ignore: got %t, want %t", got, test.ignores)
			}
			if view.guarded != test.guard {
				t.Errorf("guarded: got %t, want %t", view.guarded, test.guard)
			}
			finding := evaluateNamespaceSelector(view.chosen(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{corev1.LabelMetadataName: name, "opted": ""},
			}})
			if got := finding.Status == OK; got != test.served {
				t.Errorf("served: got %+v, want %t", finding, test.served)
			}
		})
	}
}

// TestWebhookView_rulesRemoved removes the rules of the entry for all other namespaces. The
// entry for kube-system must not hide that.
func TestWebhookView_rulesRemoved(t *testing.T) {
	chart := configuration(func(w *admissionregistrationv1.MutatingWebhook) {
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "kube-system"}}
	})
	others := *chart.Webhooks[0].DeepCopy()
	others.Name, others.Rules, others.NamespaceSelector = "pods.pod-identity-webhook.internal", nil, nil
	chart.Webhooks = append(chart.Webhooks, others)
	all := &webhookInfo{entries: findWebhooks([]admissionregistrationv1.MutatingWebhookConfiguration{chart}, "")}
	want{Broken, "does not match the creation of pods", "", "/webhooks/1/rules"}.check(t, evaluateRules(all.in("shop").chosen()))
	want{OK, "", "", ""}.check(t, evaluateRules(all.in("kube-system").chosen()))
}

func TestEvaluateRules(t *testing.T) {
	rule := func(change func(*admissionregistrationv1.RuleWithOperations)) func(*admissionregistrationv1.MutatingWebhook) {
		return func(w *admissionregistrationv1.MutatingWebhook) { change(&w.Rules[0]) }
	}
	for name, test := range map[string]struct {
		change func(*admissionregistrationv1.MutatingWebhook)
		want   want
	}{
		"the rules of the Helm chart": {nil, want{OK, "matches the creation of pods", "", ""}},
		"all wildcards": {rule(func(r *admissionregistrationv1.RuleWithOperations) {
			r.Operations, r.APIGroups, r.APIVersions, r.Resources = []admissionregistrationv1.OperationType{"*"}, []string{"*"}, []string{"*"}, []string{"*/*"}
		}), want{OK, "matches the creation of pods", "", ""}},
		"none": {func(w *admissionregistrationv1.MutatingWebhook) { w.Rules = nil }, want{Broken, "does not match", "", `"path":"/webhooks/0/rules","value":[{`}},
		"only updates": {
			rule(func(r *admissionregistrationv1.RuleWithOperations) { r.Operations[0] = "UPDATE" }),
			want{Broken, "does not match", "", `"path":"/webhooks/0/rules/-","value":{`},
		},
		"only a subresource": {
			rule(func(r *admissionregistrationv1.RuleWithOperations) { r.Resources[0] = "pods/ephemeralcontainers" }),
			want{Broken, "does not match", "", ""},
		},
		"objects without a namespace": {
			rule(func(r *admissionregistrationv1.RuleWithOperations) {
				r.Scope = new(admissionregistrationv1.ClusterScope)
			}),
			want{Broken, "does not match", "", ""},
		},
		"another API group": {rule(func(r *admissionregistrationv1.RuleWithOperations) { r.APIGroups[0] = "apps" }), want{Broken, "does not match", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, evaluateRules(entryOf(test.change))) })
	}
}

func TestEvaluateNamespaceSelector(t *testing.T) {
	selector := func(expressions ...metav1.LabelSelectorRequirement) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchExpressions: expressions}
	}
	const optIn = "eks.amazonaws.com/pod-identity-webhook"
	for name, test := range map[string]struct {
		selector *metav1.LabelSelector
		labels   map[string]string
		want     want
	}{
		"no selector": {nil, nil, want{OK, "matches namespace shop", "", ""}},
		"opted in":    {selector(metav1.LabelSelectorRequirement{Key: optIn, Operator: "In", Values: []string{"enabled"}}), map[string]string{optIn: "enabled"}, want{OK, "matches", "", ""}},
		"not opted in": {
			selector(metav1.LabelSelectorRequirement{Key: optIn, Operator: "In", Values: []string{"enabled"}}), nil,
			want{Broken, "not called for namespace shop", "label " + optIn + " in (enabled)", "kubectl label --overwrite namespace shop " + optIn + "=enabled"},
		},
		"opted in with another value": {
			&metav1.LabelSelector{MatchLabels: map[string]string{optIn: "enabled"}},
			map[string]string{optIn: "true"},
			want{Broken, "not called", "", optIn + "=enabled"},
		},
		"excluded by its name": {
			selector(metav1.LabelSelectorRequirement{Key: corev1.LabelMetadataName, Operator: "NotIn", Values: []string{"shop"}}),
			map[string]string{corev1.LabelMetadataName: "shop"},
			want{Broken, "not called", "run the workload in another", ""},
		},
		"excluded by a label":    {selector(metav1.LabelSelectorRequirement{Key: "x", Operator: "DoesNotExist"}), map[string]string{"x": "y"}, want{Broken, "", "no label x", "namespace shop x-"}},
		"excluded by a value":    {selector(metav1.LabelSelectorRequirement{Key: "x", Operator: "NotIn", Values: []string{"y"}}), map[string]string{"x": "y"}, want{Broken, "", "label x not in (y)", "x-"}},
		"a label with any value": {selector(metav1.LabelSelectorRequirement{Key: "x", Operator: "Exists"}), nil, want{Broken, "", "label x", "x=enabled"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := entryOf(func(w *admissionregistrationv1.MutatingWebhook) { w.NamespaceSelector = test.selector })
			test.want.check(t, evaluateNamespaceSelector(r, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: test.labels}}))
		})
	}
}

// ownedBy makes the pod belong to a Deployment.
func ownedBy(pod *corev1.Pod) *corev1.Pod {
	pod.Labels = map[string]string{podTemplateHash: "5d9c7b6f4"}
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "cart-5d9c7b6f4", Controller: new(true), UID: "1"}}
	return pod
}

func TestEvaluatePodSelected(t *testing.T) {
	skipped := func(w *admissionregistrationv1.MutatingWebhook) { w.ObjectSelector = skipSelector() }
	condition := func(expression string) func(*admissionregistrationv1.MutatingWebhook) {
		return func(w *admissionregistrationv1.MutatingWebhook) {
			w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "it", Expression: expression}}
		}
	}
	const chart = `!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)`
	plain := func() *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart"}}
	}
	marked := plain()
	marked.Labels = map[string]string{inject.SkipPodLabel: "true"}
	deployed := ownedBy(plain())
	deployed.Labels[inject.SkipPodLabel] = "true"
	mirror := plain()
	mirror.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"}
	for name, test := range map[string]struct {
		change func(*admissionregistrationv1.MutatingWebhook)
		pod    *corev1.Pod
		want   want
	}{
		"a pod without labels":                      {skipped, plain(), want{OK, "match pod cart", "", ""}},
		"a pod with the skip label":                 {skipped, marked, want{Broken, "not called", "skips pods with label", "kubectl label --overwrite pod cart -n shop " + inject.SkipPodLabel + "- && kubectl get pod cart"}},
		"a pod of a Deployment with the skip label": {skipped, deployed, want{Broken, "not called", "", `kubectl patch deployment cart -n shop --type=merge -p='{"spec":{"template":{"metadata":{"labels":{"eks.amazonaws.com/skip-pod-identity-webhook":null}}}}}'`}},
		"the Helm chart's condition":                {condition(chart), plain(), want{OK, "match", "", ""}},
		"the Helm chart's condition, a mirror pod":  {condition(chart), mirror, want{Broken, "not called", "static pod", ""}},
		"an unknown condition":                      {condition("object.metadata.name != 'x'"), plain(), want{Unknown, "cannot evaluate", "not it", ""}},
		"a condition with other spaces":             {condition(strings.ReplaceAll(chart, " || ", "\n||\n")), plain(), want{OK, "match", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, evaluatePodSelected(entryOf(test.change), test.pod)) })
	}
}

func TestEvaluateEndpointSlices(t *testing.T) {
	slice := func(ready bool) []discoveryv1.EndpointSlice {
		return []discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: new(ready)},
		}}}}
	}
	service := &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "webhook"}}}
	waiting := ownedBy(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "pod-identity-webhook", Name: "webhook-x"}})
	waiting.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))
	missing := apierrors.NewNotFound(schema.GroupResource{}, "x")
	url := func(w *admissionregistrationv1.MutatingWebhook) {
		w.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: new("https://10.0.0.1/mutate")}
	}
	for name, test := range map[string]struct {
		view   webhookInfo
		change func(*admissionregistrationv1.MutatingWebhook)
		want   want
	}{
		"ready":                  {webhookInfo{service: service, slices: slice(true)}, nil, want{OK, "1 ready endpoint", "", ""}},
		"called by URL":          {webhookInfo{}, url, want{Skipped, "by URL", "", ""}},
		"no Service":             {webhookInfo{serviceErr: missing}, nil, want{Broken, "does not exist", "", "helm upgrade"}},
		"forbidden":              {webhookInfo{service: service, slicesErr: forbidden}, nil, want{Unknown, "list endpointslices", "", ""}},
		"no pods":                {webhookInfo{service: service}, nil, want{Broken, "no ready endpoint", "app=webhook", "kubectl scale deployment -n pod-identity-webhook -l app=webhook --replicas=2"}},
		"pods that do not start": {webhookInfo{service: service, slices: slice(false), pods: []corev1.Pod{*waiting}}, nil, want{Broken, "no ready endpoint", "CrashLoopBackOff", "kubectl rollout restart deployment/cart"}},
		"pods forbidden":         {webhookInfo{service: service, slices: slice(false), podsErr: forbidden}, nil, want{Broken, "no ready endpoint", "1 unready endpoint", "kubectl get pods -n pod-identity-webhook"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.view.entries = []webhookEntry{*entryOf(test.change)}
			test.want.check(t, evaluateEndpointSlices(&test.view))
		})
	}
}

func TestReadSettings(t *testing.T) {
	s := readSettings([]string{
		"/pod-identity-webhook", "--annotation-prefix=irsa.example.com", "--namespace", "kube-irsa", "--token-expiration=60", "--watch-config-map",
		"--token-mount-path=/token", "--role-policy=on", "--v=4", "--unknown=x", "--sts-regional-endpoint", "--compose-role-arn", "--aws-account-id=111122223333",
		"--token-expiration=no-number",
	})
	for name, is := range map[string]bool{
		"a value after =":           s.identity.AnnotationPrefix == "irsa.example.com" && s.inject.AnnotationPrefix == "irsa.example.com",
		"a value after a space":     s.namespace == "kube-irsa",
		"a value below the minimum": s.identity.ExpirationSeconds == 600,
		"flags without values":      s.configMap && s.identity.RegionalSTS,
		"the mount path":            s.inject.MountPath == "/token",
		"the role policy":           s.rolePolicy == rolepolicy.On,
		"the account":               s.identity.Account != nil && s.identity.Account.ID == "111122223333",
		"a default":                 s.identity.Audience == "sts.amazonaws.com",
	} {
		if !is {
			t.Errorf("%s: got %+v", name, s)
		}
	}
	if got := s.overridden(Options{Audience: "vault", AnnotationPrefix: "other"}); got.identity.Audience != "vault" || got.inject.AnnotationPrefix != "other" {
		t.Errorf("got %+v, want the options to take precedence", got)
	}
}

func accountWith(annotations map[string]string) *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", Annotations: annotations}}
}

func examinationOf(account *corev1.ServiceAccount, args ...string) *checkState {
	return &checkState{
		Doctor: &Doctor{Client: fake.NewClientset()}, namespace: "shop", serviceAccount: "cart", status: map[Code]Status{},
		webhook: &webhookInfo{}, settings: readSettings(args), account: account,
	}
}

func TestCheckRole(t *testing.T) {
	const key = "eks.amazonaws.com/role-arn"
	for name, test := range map[string]struct {
		annotations map[string]string
		want        want
	}{
		"present":                          {map[string]string{key: testRole}, want{OK, testRole, "", ""}},
		"absent":                           {nil, want{Broken, "no annotation " + key, "set the annotation", "kubectl annotate --overwrite serviceaccount cart -n shop " + key + "=" + exampleRole}},
		"empty":                            {map[string]string{key: ""}, want{Broken, "is empty", "set the annotation", ""}},
		"misspelled":                       {map[string]string{"eks.amazonaws.com/rolearn": testRole}, want{Broken, "no annotation", "did you mean", key + "=" + testRole + " eks.amazonaws.com/rolearn-"}},
		"misspelled, with a command in it": {map[string]string{"eks.amazonaws.com/rolearn": "$(reboot) it's"}, want{Broken, "", "", `'eks.amazonaws.com/role-arn=$(reboot) it'\''s' eks.amazonaws.com/rolearn-`}},
		"the annotation of kube2iam":       {map[string]string{"iam.amazonaws.com/role": testRole}, want{Broken, "", "kube2iam", "iam.amazonaws.com/role-"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.check(t, checkRole(t.Context(), examinationOf(accountWith(test.annotations))))
		})
	}
}

func TestEvaluateAnnotations_fix(t *testing.T) {
	const prefix = "eks.amazonaws.com/"
	for name, test := range map[string]struct {
		annotations map[string]string
		want        want
	}{
		"none":                     {map[string]string{prefix + "role-arn": testRole}, want{OK, "", "", ""}},
		"quotes":                   {map[string]string{prefix + "role-arn": `"` + testRole + `"`}, want{Broken, "1 mistake", "quotes", prefix + "role-arn=" + testRole}},
		"spaces":                   {map[string]string{prefix + "role-arn": " " + testRole}, want{Broken, "1 mistake", "spaces around it", prefix + "role-arn=" + testRole}},
		"a user's ARN":             {map[string]string{prefix + "role-arn": "arn:aws:iam::111122223333:user/x"}, want{Broken, "1 mistake", "user", prefix + "role-arn=" + exampleRole}},
		"an address as audience":   {map[string]string{prefix + "audience": "sts.eu-west-1.amazonaws.com"}, want{Warning, "1 mistake", "address", prefix + "audience-"}},
		"an audience with a space": {map[string]string{prefix + "audience": "vault "}, want{Broken, "1 mistake", "", prefix + "audience=vault"}},
		"a misspelled one":         {map[string]string{prefix + "role-arn": testRole, prefix + "audiences": "vault"}, want{Warning, "1 mistake", "did you mean", prefix + "audience=vault " + prefix + "audiences-"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.check(t, evaluateAnnotations(accountWith(test.annotations), readSettings(nil)))
		})
	}
}

func TestEvaluateRolePermitted(t *testing.T) {
	const key = "eks.amazonaws.com/permitted-roles"
	for name, test := range map[string]struct {
		mode        string
		annotations map[string]string
		want        want
	}{
		"no policy":              {"on", nil, want{OK, "permits role " + testRole, "", ""}},
		"none, but one required": {"require", nil, want{Broken, "does not permit", "", key + "=" + testRole}},
		"another role":           {"on", map[string]string{key: "arn:aws:iam::111122223333:role/other"}, want{Broken, "does not permit", "", key + "=arn:aws:iam::111122223333:role/other," + testRole}},
		"another role in JSON":   {"on", map[string]string{key: `["prod-*"]`}, want{Broken, "does not permit", "", `'` + key + `=["prod-*","` + testRole + `"]'`}},
		"the annotation of kiam": {"on", map[string]string{"iam.amazonaws.com/permitted": "prod-.*"}, want{Broken, "does not permit", "which then takes precedence", ""}},
		"this role":              {"on", map[string]string{key: "arn:aws:iam::111122223333:role/c*"}, want{OK, "permits", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: test.annotations}}
			test.want.check(t, evaluateRolePermitted(readSettings([]string{"--role-policy=" + test.mode}), namespace, testRole))
		})
	}
	unread := examinationOf(accountWith(nil))
	want{Skipped, "cannot read the webhook's flags", "", ""}.check(t, checkRolePermitted(t.Context(), unread))
	unread.webhook.pods = []corev1.Pod{{}}
	want{Skipped, "--role-policy is off", "", ""}.check(t, checkRolePermitted(t.Context(), unread))
	const target = "arn:aws:iam::444455556666:role/target"
	x := examinationOf(accountWith(nil), "--role-policy=on")
	x.identity = podWithIdentity(func(id *identity.Identity) { id.TargetRoleARN = target })
	x.Client = fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{key: testRole}}})
	want{Broken, "does not permit", target, key + "=" + testRole + "," + target}.check(t, checkRolePermitted(t.Context(), x))
}

func TestAnnotationWrittenAt(t *testing.T) {
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	fields := &metav1.FieldsV1{}
	fields.SetRawBytes([]byte(`{"f:metadata":{"f:annotations":{".":{},"f:eks.amazonaws.com/role-arn":{}}}}`))
	other := &metav1.FieldsV1{}
	other.SetRawBytes([]byte(`{"f:metadata":{"f:labels":{"f:x":{}}}}`))
	broken := &metav1.FieldsV1{}
	broken.SetRawBytes([]byte(`{"f:metadata":[]}`))
	account := accountWith(nil)
	later := metav1.NewTime(at.Add(time.Hour))
	account.ManagedFields = []metav1.ManagedFieldsEntry{
		{Manager: "helm", Time: &later, FieldsV1: other}, {Manager: "x", Time: &later, FieldsV1: broken}, {Manager: "kubectl-annotate", Time: &at, FieldsV1: fields}, {Manager: "y"},
	}
	got, by, known := annotationWrittenAt(account, "eks.amazonaws.com/role-arn")
	if !known || by != "kubectl-annotate" || !got.Equal(at.Time) {
		t.Errorf("got %s by %q, %t", got, by, known)
	}
	if _, _, known := annotationWrittenAt(account, "eks.amazonaws.com/audience"); known {
		t.Error("got a time for an annotation without field manager")
	}
}

// injected returns a pod with the fields that the webhook injects.
func injected(change func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart", CreationTimestamp: metav1.NewTime(time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC))},
		Spec: corev1.PodSpec{
			ServiceAccountName: "cart",
			Volumes: []corev1.Volume{{Name: inject.VolumeName, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
					Audience: "sts.amazonaws.com", ExpirationSeconds: new(int64(86400)), Path: "token",
				}}},
			}}}},
			Containers: []corev1.Container{{
				Name: "app",
				Env: []corev1.EnvVar{
					{Name: envRole, Value: testRole}, {Name: envTokenFile, Value: "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
				},
				VolumeMounts: []corev1.VolumeMount{{Name: inject.VolumeName, ReadOnly: true, MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount"}},
			}},
		},
	}
	if change != nil {
		change(pod)
	}
	return pod
}

// podWithoutIdentity returns a pod that the webhook has not injected.
func podWithoutIdentity(change func(*corev1.Pod)) *corev1.Pod {
	return injected(func(pod *corev1.Pod) {
		pod.Spec.Volumes = nil
		pod.Spec.Containers[0].Env, pod.Spec.Containers[0].VolumeMounts = nil, nil
		if change != nil {
			change(pod)
		}
	})
}

func podWithIdentity(change func(*identity.Identity)) *identity.Identity {
	id := identity.FromAnnotations(map[string]string{"eks.amazonaws.com/role-arn": testRole}, readSettings(nil).identity)
	if change != nil {
		change(id)
	}
	return id
}

func TestEvaluateInjected(t *testing.T) {
	before, after := time.Date(2026, 1, 2, 2, 0, 0, 0, time.UTC), time.Date(2026, 1, 2, 4, 0, 0, 0, time.UTC)
	usual := podHistory{writtenAt: before, writtenBy: "kubectl", configuredAt: before}
	for name, test := range map[string]struct {
		pod        *corev1.Pod
		podHistory podHistory
		want       want
	}{
		"it has its identity": {injected(nil), usual, want{OK, "in 1 container", "", ""}},
		// SDKs use a web identity before the agent of EKS Pod Identity.
		"a web identity next to EKS Pod Identity": {podWithoutIdentity(func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{
				{Name: "AWS_CONTAINER_CREDENTIALS_FULL_URI", Value: "http://169.254.170.23/v1/credentials"},
				{Name: "AWS_ROLE_ARN", Value: testRole},
				{Name: "AWS_WEB_IDENTITY_TOKEN_FILE", Value: "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
			}
		}), podHistory{}, want{OK, "has its identity in 1 container", "", ""}},
		"EKS Pod Identity": {podWithoutIdentity(func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: envContainerURI, Value: "http://169.254.170.23"}}
		}), usual, want{Warning, "another identity", "agent", ""}},
		"a mirror pod":  {podWithoutIdentity(func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }), usual, want{Broken, "static pod", "DaemonSet", ""}},
		"it is skipped": {podWithoutIdentity(func(p *corev1.Pod) { p.Labels = map[string]string{inject.SkipPodLabel: ""} }), usual, want{Broken, "because of label", "", "kubectl label --overwrite pod cart"}},
		"all containers are skipped": {
			podWithoutIdentity(func(p *corev1.Pod) { p.Annotations = map[string]string{"eks.amazonaws.com/skip-containers": "app"} }), usual,
			want{Broken, "skips all its containers", "app: the annotation skip-containers names it", "kubectl annotate pod cart -n shop eks.amazonaws.com/skip-containers- && "},
		},
		"the webhook is not called":                  {podWithoutIdentity(nil), podHistory{writtenAt: before, configuredAt: before, notCalled: WebhookNamespace}, want{Broken, "not called for it", "webhook_namespace", "kubectl replace --force"}},
		"older than the annotation":                  {podWithoutIdentity(nil), podHistory{writtenAt: after, writtenBy: "kubectl-annotate", configuredAt: before}, want{Broken, "older than the annotation", "kubectl-annotate wrote", "kubectl get pod cart -n shop -o yaml | kubectl replace --force -f -"}},
		"older than the annotation, of a Deployment": {ownedBy(podWithoutIdentity(nil)), podHistory{writtenAt: after, configuredAt: before}, want{Broken, "older than the annotation", "", "kubectl rollout restart deployment/cart -n shop"}},
		"older than the webhook":                     {podWithoutIdentity(nil), podHistory{writtenAt: before, configuredAt: after}, want{Broken, "older than the MutatingWebhookConfiguration", "", ""}},
		"the webhook was down":                       {podWithoutIdentity(nil), podHistory{writtenAt: before, configuredAt: before, ignoresFailures: true}, want{Broken, "did not inject it", "failurePolicy is Ignore", ""}},
		"the webhook was not called":                 {podWithoutIdentity(nil), usual, want{Broken, "did not inject it", "not called when the pod was created", ""}},
		"of a Job": {podWithoutIdentity(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "cart", Controller: new(true)}}
		}), usual, want{Broken, "", "", "kubectl delete pod cart -n shop"}},
		"of a StatefulSet": {podWithoutIdentity(func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "StatefulSet", Name: "db", Controller: new(true)}}
		}), usual, want{Broken, "", "", "kubectl rollout restart statefulset/db -n shop"}},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := dryRunInject(test.pod, podWithIdentity(nil), readSettings(nil).inject)
			if err != nil {
				t.Fatal(err)
			}
			test.want.check(t, evaluateInjected(test.pod, result, test.podHistory))
		})
	}
}

func TestEvaluateToken(t *testing.T) {
	source := func(p *corev1.Pod) *corev1.ServiceAccountTokenProjection {
		return p.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken
	}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want want
	}{
		"the right token":  {injected(nil), want{OK, "has a token for audience sts.amazonaws.com", "", ""}},
		"another audience": {injected(func(p *corev1.Pod) { source(p).Audience = "vault" }), want{Broken, `for audience "vault", not "sts.amazonaws.com"`, "", "kubectl replace --force"}},
		"no volume":        {injected(func(p *corev1.Pod) { p.Spec.Volumes = nil }), want{Broken, "no volume with a token", "", "kubectl replace"}},
		"a volume of its own": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes[0].Name, p.Spec.Containers[0].VolumeMounts[0].Name = "own", "own"
		}), want{OK, "volume own", "", ""}},
		"longer than useful": {injected(func(p *corev1.Pod) { source(p).ExpirationSeconds = new(int64(100000)) }), want{Warning, "", "older than a day", ""}},
		"a volume of its own at another path": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes[0].Name, p.Spec.Containers[0].VolumeMounts[0].Name = "own", "own"
			p.Spec.Containers[0].VolumeMounts[0].MountPath, p.Spec.Containers[0].Env[1].Value = "/aws", "/aws/token"
		}), want{OK, "volume own", "", ""}},
		"on Windows": {injected(func(p *corev1.Pod) {
			p.Spec.Containers[0].Env[1].Value = `C:\var\run\secrets\eks.amazonaws.com\serviceaccount\token`
			p.Spec.Volumes[0].Name, p.Spec.Containers[0].VolumeMounts[0].Name = "win", "win"
		}), want{OK, "volume win", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, evaluateToken(test.pod, podWithIdentity(nil))) })
	}
}

func TestEvaluateEnvironment(t *testing.T) {
	second := func(p *corev1.Pod) {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar"})
	}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want want
	}{
		"it is complete":       {injected(nil), want{OK, "complete in 1 container", "", ""}},
		"one lacks everything": {injected(second), want{Broken, "container sidecar lacks AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, the token mount", "", "kubectl replace"}},
		"one is skipped": {injected(func(p *corev1.Pod) {
			second(p)
			p.Annotations = map[string]string{"eks.amazonaws.com/skip-containers": "sidecar"}
		}), want{OK, "complete in 1 container", "container sidecar is skipped", ""}},
		"the previous role": {injected(func(p *corev1.Pod) { p.Spec.Containers[0].Env[0].Value = "arn:aws:iam::111122223333:role/old" }), want{Broken, "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/old", "", "kubectl replace"}},
		"no mount":          {injected(func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts = nil }), want{Broken, "container app lacks the token mount", "", ""}},
		"another file":      {injected(func(p *corev1.Pod) { p.Spec.Containers[0].Env[1].Value = "/elsewhere/serviceaccount/token" }), want{Broken, "sets another identity", "", ""}},
		"the skip label": {injected(func(p *corev1.Pod) {
			p.Labels = map[string]string{inject.SkipPodLabel: "true"}
			p.Spec.Containers[0].Env[0].Value = "arn:aws:iam::111122223333:role/old"
		}), want{Broken, "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/old", "", ""}},
		"the path is taken": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "other"})
			p.Spec.Containers[0].VolumeMounts[0].Name = "other"
		}), want{Broken, "mounts another volume", "", ""}},
		"one lacks the identity at the fallback path": {injected(func(p *corev1.Pod) {
			second(p)
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "other"})
			p.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "other", MountPath: "/var/run", ReadOnly: true}}
		}), want{Broken, "container sidecar lacks AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, the token mount", "", "kubectl replace"}},
		"one has it at the fallback path": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "other"})
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
				{Name: "other", MountPath: "/var/run", ReadOnly: true},
				{Name: inject.VolumeName, MountPath: "/eks.amazonaws.com/serviceaccount", ReadOnly: true},
			}
			p.Spec.Containers[0].Env[1].Value = "/eks.amazonaws.com/serviceaccount/token"
		}), want{OK, "complete in 1 container", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			result, err := dryRunInject(withoutSkipLabel(test.pod), podWithIdentity(nil), readSettings(nil).inject)
			if err != nil {
				t.Fatal(err)
			}
			test.want.check(t, evaluateEnvironment(test.pod, result, podWithIdentity(nil)))
		})
	}
}

func TestRecreateCleanCommand_barePod(t *testing.T) {
	pod := injected(func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "data"})
		p.Spec.Containers[0].Env = append([]corev1.EnvVar{{Name: "COLOR"}}, p.Spec.Containers[0].Env...)
		p.Spec.InitContainers = []corev1.Container{{Name: "init", Env: []corev1.EnvVar{{Name: envRole}}}}
	})
	want := `kubectl get pod cart -n shop -o yaml | kubectl patch -f - --local --type=json -p='[` +
		`{"op":"remove","path":"/spec/containers/0/env/2"},{"op":"remove","path":"/spec/containers/0/env/1"},` +
		`{"op":"remove","path":"/spec/containers/0/volumeMounts/0"},{"op":"remove","path":"/spec/initContainers/0/env/0"},` +
		`{"op":"remove","path":"/spec/volumes/0"}]' -o yaml | kubectl replace --force -f -`
	if got := (Commands{}).write(recreateCleanCommand(pod)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := (Commands{}).write(recreateCleanCommand(ownedBy(pod))), "kubectl rollout restart deployment/cart -n shop"; got != want {
		t.Errorf("of a Deployment: got %s, want %s", got, want)
	}
}

func TestEvaluateOverrides(t *testing.T) {
	forbidden := apierrors.NewForbidden(schema.GroupResource{}, "", errors.New("no"))
	missing := apierrors.NewNotFound(schema.GroupResource{}, "x")
	elsewhere := map[string]struct {
		keys []string
		err  error
	}{
		"Secret keys":        {[]string{"AWS_ACCESS_KEY_ID", "OTHER"}, nil},
		"Secret short":       {[]string{"ACCESS_KEY_ID"}, nil},
		"Secret hidden":      {nil, forbidden},
		"ConfigMap missing":  {nil, missing},
		"ConfigMap profile":  {[]string{"AWS_PROFILE"}, nil},
		"ConfigMap harmless": {[]string{"COLOR"}, nil},
	}
	const never = "hunter2"
	env := func(variables ...corev1.EnvVar) *corev1.Pod {
		return injected(func(p *corev1.Pod) { p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, variables...) })
	}
	envFrom := func(prefix, kind, name string) *corev1.Pod {
		return injected(func(p *corev1.Pod) {
			source := corev1.EnvFromSource{Prefix: prefix}
			reference := corev1.LocalObjectReference{Name: name}
			if kind == "Secret" {
				source.SecretRef = &corev1.SecretEnvSource{LocalObjectReference: reference}
			} else {
				source.ConfigMapRef = &corev1.ConfigMapEnvSource{LocalObjectReference: reference}
			}
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{source}
		})
	}
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want want
	}{
		"no override":                          {injected(nil), want{OK, "no variable", "", ""}},
		"a key":                                {env(corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: never}), want{Broken, "AWS_ACCESS_KEY_ID in container app (env)", "before they use a role", "kubectl set env -f - --local -c app AWS_ACCESS_KEY_ID-"}},
		"a key of a Deployment":                {ownedBy(env(corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: never})), want{Broken, "", "", "kubectl set env deployment/cart -n shop -c app AWS_ACCESS_KEY_ID-"}},
		"an empty key":                         {env(corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID"}), want{OK, "no variable", "", ""}},
		"a key from a Secret":                  {env(corev1.EnvVar{Name: "AWS_SECRET_ACCESS_KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}}}), want{Broken, "from Secret keys", "", ""}},
		"a profile":                            {env(corev1.EnvVar{Name: "AWS_PROFILE", Value: never}), want{Warning, "AWS_PROFILE", "fail if the profile does not exist", "AWS_PROFILE-"}},
		"a key and a profile":                  {env(corev1.EnvVar{Name: "AWS_PROFILE", Value: never}, corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: never}), want{Broken, "AWS_ACCESS_KEY_ID", "AWS_PROFILE in container", "AWS_ACCESS_KEY_ID-"}},
		"the webhook's file for role chaining": {env(corev1.EnvVar{Name: envConfigFile, Value: "/var/run/secrets/eks.amazonaws.com/serviceaccount/config"}), want{OK, "", "", ""}},
		"envFrom a Secret":                     {envFrom("", "Secret", "keys"), want{Broken, "envFrom Secret keys", "", "kubectl set env -f - --local -c app AWS_ACCESS_KEY_ID= -o yaml"}},
		"envFrom with a prefix":                {envFrom("AWS_", "Secret", "short"), want{Broken, "AWS_ACCESS_KEY_ID", "", "AWS_ACCESS_KEY_ID="}},
		"envFrom a forbidden Secret":           {envFrom("", "Secret", "hidden"), want{Unknown, "not allowed to get secrets/hidden in namespace shop", "and not its values", ""}},
		"envFrom a ConfigMap with a profile":   {envFrom("", "ConfigMap", "profile"), want{Warning, "envFrom ConfigMap profile", "", ""}},
		"an empty profile":                     {env(corev1.EnvVar{Name: "AWS_PROFILE"}), want{Warning, "AWS_PROFILE", "", "AWS_PROFILE-"}},
		"an endpoint of all services":          {env(corev1.EnvVar{Name: "AWS_ENDPOINT_URL", Value: never}), want{Warning, "AWS_ENDPOINT_URL in container app (env)", "call STS there, too; set AWS_ENDPOINT_URL_STS", ""}},
		"a session name":                       {env(corev1.EnvVar{Name: "AWS_ROLE_SESSION_NAME", Value: "a b"}), want{Warning, "AWS_ROLE_SESSION_NAME", "STS rejects", ""}},
		"envFrom a Secret, of a Deployment":    {ownedBy(envFrom("", "Secret", "keys")), want{Broken, "", "", "kubectl set env deployment/cart -n shop -c app AWS_ACCESS_KEY_ID="}},
		"envFrom a missing ConfigMap":          {envFrom("", "ConfigMap", "missing"), want{OK, "", "", ""}},
		"envFrom a harmless ConfigMap":         {envFrom("", "ConfigMap", "harmless"), want{OK, "", "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &environment{keys: func(kind, name string) ([]string, error) {
				known := elsewhere[kind+" "+name]
				return known.keys, known.err
			}}
			all := e.overrides(test.pod)
			got := evaluateOverrides(test.pod, all, e.unread)
			test.want.check(t, got)
			if strings.Contains(got.Summary+got.Why+got.Fix, never) {
				t.Errorf("got a value in %+v, want none", got)
			}
		})
	}
}

// TestCheckToken_ownVolume checks a container that reads the token from its own volume, like
// Elasticsearch on ECK.
func TestCheckToken_ownVolume(t *testing.T) {
	const directory = "/usr/share/elasticsearch/config/repository-s3"
	id := podWithIdentity(nil)
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		ServiceAccountName: "cart",
		Containers: []corev1.Container{{
			Name:         "elasticsearch",
			Env:          []corev1.EnvVar{{Name: envRole, Value: id.RoleARN}, {Name: envTokenFile, Value: directory + "/aws-token"}},
			VolumeMounts: []corev1.VolumeMount{{Name: "own", MountPath: directory}},
		}},
		Volumes: []corev1.Volume{token.Volume("own", id.Audience, "aws-token", 3600)},
	}}
	x := &checkState{pod: pod, identity: id, settings: settings{inject: inject.Settings{MountPath: "/var/run/secrets/eks.amazonaws.com/serviceaccount"}}}
	for name, check := range map[string]func(context.Context, *checkState) Finding{"token": checkToken, "environment": checkEnvironment} {
		if got := check(t.Context(), x); got.Status != OK {
			t.Errorf("%s: got %+v, want OK", name, got)
		}
	}
	pod.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken.Audience = "vault"
	if got := checkToken(t.Context(), x); got.Status != Broken {
		t.Errorf("another audience: got %+v, want broken", got)
	}
}
