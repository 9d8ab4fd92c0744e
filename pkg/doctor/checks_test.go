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

// want is what a finding has to be. Each of its texts is a part of the finding's.
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
		t.Errorf("what is well has a fix: %s", got.Fix)
	}
}

func TestWorst(t *testing.T) {
	for name, test := range map[string]struct {
		statuses []Status
		want     Status
	}{
		"nothing is ok":                      {nil, OK},
		"what is skipped counts for nothing": {[]Status{Skipped}, OK},
		"a warning is worse than ok":         {[]Status{Warning, OK}, Warning},
		"unknown is worse than a warning":    {[]Status{Warning, Unknown}, Unknown},
		"broken is worse than unknown":       {[]Status{Broken, Unknown, OK}, Broken},
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
	look := func(status Status) func(context.Context, *checkState) Finding {
		return func(context.Context, *checkState) Finding { return Finding{Status: status} }
	}
	never := func(context.Context, *checkState) Finding {
		t.Error("a check was made that has nothing to look at")
		return Finding{}
	}
	findings := runChecks(t.Context(), []check{
		{"first", LinkIAM, nil, look(Broken)},
		{"second", LinkIAM, []Code{"first"}, never},
		{"third", LinkIAM, []Code{"second"}, never},
		{"blind", LinkIAM, nil, look(Unknown)},
		{"after", LinkIAM, []Code{"blind"}, never},
		{"warned", LinkIAM, nil, look(Warning)},
		{"last", LinkIAM, []Code{"warned"}, look(OK)},
	}, &checkState{Doctor: &Doctor{}, status: map[Code]Status{}})
	want := []string{"", "not looked at: first is broken", "not looked at: second was not", "", "not looked at: blind is unknown", "", ""}
	for i, finding := range findings {
		if finding.Summary != want[i] {
			t.Errorf("%s: %q, want %q", finding.Check, finding.Summary, want[i])
		}
	}
}

func TestChecks_order(t *testing.T) {
	seen := map[Code]bool{}
	for _, checks := range [][]check{accountChecks(), webhookChecks(), callChecks(), endpointChecks(), podChecks(), awsChecks()} {
		for _, c := range checks {
			if seen[c.code] {
				t.Errorf("%s is there twice", c.code)
			}
			for _, needed := range c.needs {
				if !seen[needed] {
					t.Errorf("%s needs %s, which does not come before", c.code, needed)
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
		"no answer at all":  {permission{verb: "get", resource: "pods"}, errors.New("timeout"), want{Unknown, "could not get pods: timeout", "", ""}},
		"not logged in":     {permission{verb: "get", resource: "pods"}, apierrors.NewUnauthorized("who?"), want{Unknown, "not allowed to get pods", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, readErrorFinding(test.permission, test.err)) })
	}
}

// configuration is a registration as our chart has it, changed.
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

func registrationOf(change func(*admissionregistrationv1.MutatingWebhook)) *registration {
	return &findRegistrations([]admissionregistrationv1.MutatingWebhookConfiguration{configuration(change)}, "pod-identity-webhook")[0]
}

func TestFindRegistrations(t *testing.T) {
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
		"ours":                                {list{other, configuration(nil)}, "", want{OK, "MutatingWebhookConfiguration pod-identity-webhook", "", ""}},
		"that which EKS manages":              {list{eks}, "", want{OK, eksName, "", ""}},
		"none":                                {list{other}, "", want{Broken, "no webhook is registered", "/mutate", "helm upgrade --install"}},
		"a path that is not ours":             {list{pathless}, "", want{Broken, "no webhook is registered", "", ""}},
		"one of another name, which is given": {list{renamed}, "irsa", want{OK, "irsa.example.com", "", ""}},
		"one of another name, which is not given":  {list{renamed}, "", want{Broken, "no webhook is registered", "--webhook-name", ""}},
		"a name that nothing has":                  {list{configuration(nil)}, "irsa", want{Broken, `no MutatingWebhookConfiguration "irsa"`, "", ""}},
		"two that are called":                      {list{configuration(nil), eks}, "", want{Warning, "2 webhooks", "https://127.0.0.1:23443/mutate", ""}},
		"two, of which one is not called for pods": {list{broken, eks}, "", want{OK, eksName, "", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			test.want.check(t, evaluateRegistered(findRegistrations(test.configurations, test.name), test.name))
		})
	}
}

// TestWebhookView_namespace has a configuration as the chart renders it: an entry for
// all namespaces except two, one for kube-system, and one for ephemeral containers.
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
		registrations: findRegistrations([]admissionregistrationv1.MutatingWebhookConfiguration{chart}, ""),
		guards:        []*metav1.LabelSelector{named("NotIn", "pod-identity-webhook", "kube-system")},
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
			want{OK, test.webhook, "", ""}.check(t, evaluateRegistered(view.registrations, ""))
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

// TestWebhookView_rulesRemoved has the entry of all other namespaces without rules: that
// of kube-system must not hide it.
func TestWebhookView_rulesRemoved(t *testing.T) {
	chart := configuration(func(w *admissionregistrationv1.MutatingWebhook) {
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "kube-system"}}
	})
	others := *chart.Webhooks[0].DeepCopy()
	others.Name, others.Rules, others.NamespaceSelector = "pods.pod-identity-webhook.internal", nil, nil
	chart.Webhooks = append(chart.Webhooks, others)
	all := &webhookInfo{registrations: findRegistrations([]admissionregistrationv1.MutatingWebhookConfiguration{chart}, "")}
	want{Broken, "not called when a pod is created", "", "/webhooks/1/rules"}.check(t, evaluateRules(all.in("shop").chosen()))
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
		"as our chart has them": {nil, want{OK, "it is called", "", ""}},
		"all of everything": {rule(func(r *admissionregistrationv1.RuleWithOperations) {
			r.Operations, r.APIGroups, r.APIVersions, r.Resources = []admissionregistrationv1.OperationType{"*"}, []string{"*"}, []string{"*"}, []string{"*/*"}
		}), want{OK, "it is called", "", ""}},
		"none": {func(w *admissionregistrationv1.MutatingWebhook) { w.Rules = nil }, want{Broken, "not called", "", `"path":"/webhooks/0/rules","value":[{`}},
		"updates alone": {
			rule(func(r *admissionregistrationv1.RuleWithOperations) { r.Operations[0] = "UPDATE" }),
			want{Broken, "not called", "", `"path":"/webhooks/0/rules/-","value":{`},
		},
		"a subresource alone": {
			rule(func(r *admissionregistrationv1.RuleWithOperations) { r.Resources[0] = "pods/ephemeralcontainers" }),
			want{Broken, "not called", "", ""},
		},
		"objects without a namespace": {
			rule(func(r *admissionregistrationv1.RuleWithOperations) {
				r.Scope = new(admissionregistrationv1.ClusterScope)
			}),
			want{Broken, "not called", "", ""},
		},
		"another API group": {rule(func(r *admissionregistrationv1.RuleWithOperations) { r.APIGroups[0] = "apps" }), want{Broken, "not called", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, evaluateRules(registrationOf(test.change))) })
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
		"excluded by a label":       {selector(metav1.LabelSelectorRequirement{Key: "x", Operator: "DoesNotExist"}), map[string]string{"x": "y"}, want{Broken, "", "no label x", "namespace shop x-"}},
		"excluded by a value":       {selector(metav1.LabelSelectorRequirement{Key: "x", Operator: "NotIn", Values: []string{"y"}}), map[string]string{"x": "y"}, want{Broken, "", "label x not in (y)", "x-"}},
		"a label of whatever value": {selector(metav1.LabelSelectorRequirement{Key: "x", Operator: "Exists"}), nil, want{Broken, "", "label x", "x=enabled"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := registrationOf(func(w *admissionregistrationv1.MutatingWebhook) { w.NamespaceSelector = test.selector })
			test.want.check(t, evaluateNamespaceSelector(r, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: test.labels}}))
		})
	}
}

// ownedBy makes a pod one of a Deployment's.
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
		"a pod like any":                              {skipped, plain(), want{OK, "match pod cart", "", ""}},
		"a pod to be skipped":                         {skipped, marked, want{Broken, "not called", "says to leave it alone", "kubectl label --overwrite pod cart -n shop " + inject.SkipPodLabel + "- && kubectl get pod cart"}},
		"a pod to be skipped, of a Deployment":        {skipped, deployed, want{Broken, "not called", "", `kubectl patch deployment cart -n shop --type=merge -p='{"spec":{"template":{"metadata":{"labels":{"eks.amazonaws.com/skip-pod-identity-webhook":null}}}}}'`}},
		"our chart's condition":                       {condition(chart), plain(), want{OK, "match", "", ""}},
		"our chart's condition, a mirror pod":         {condition(chart), mirror, want{Broken, "not called", "static pod", ""}},
		"a condition that is not known":               {condition("object.metadata.name != 'x'"), plain(), want{Unknown, "cannot tell", "not it", ""}},
		"a condition that is the same but for blanks": {condition(strings.ReplaceAll(chart, " || ", "\n||\n")), plain(), want{OK, "match", "", ""}},
	} {
		t.Run(name, func(t *testing.T) { test.want.check(t, evaluatePodSelected(registrationOf(test.change), test.pod)) })
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
		"ready":                     {webhookInfo{service: service, slices: slice(true)}, nil, want{OK, "1 ready endpoint", "", ""}},
		"called by URL":             {webhookInfo{}, url, want{Skipped, "by URL", "", ""}},
		"no Service":                {webhookInfo{serviceErr: missing}, nil, want{Broken, "does not exist", "", "helm upgrade"}},
		"may not be seen":           {webhookInfo{service: service, slicesErr: forbidden}, nil, want{Unknown, "list endpointslices", "", ""}},
		"no pods at all":            {webhookInfo{service: service}, nil, want{Broken, "no ready endpoint", "app=webhook", "kubectl scale deployment -n pod-identity-webhook -l app=webhook --replicas=2"}},
		"pods that do not start":    {webhookInfo{service: service, slices: slice(false), pods: []corev1.Pod{*waiting}}, nil, want{Broken, "no ready endpoint", "CrashLoopBackOff", "kubectl rollout restart deployment/cart"}},
		"pods that may not be seen": {webhookInfo{service: service, slices: slice(false), podsErr: forbidden}, nil, want{Broken, "no ready endpoint", "1 endpoint that is not ready", "kubectl get pods -n pod-identity-webhook"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.view.registrations = []registration{*registrationOf(test.change)}
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
		"a value after =":         s.identity.AnnotationPrefix == "irsa.example.com" && s.inject.AnnotationPrefix == "irsa.example.com",
		"a value after a blank":   s.namespace == "kube-irsa",
		"what is below the least": s.identity.ExpirationSeconds == 600,
		"flags without values":    s.configMap && s.identity.RegionalSTS,
		"the mount path":          s.inject.MountPath == "/token",
		"the role policy":         s.rolePolicy == rolepolicy.On,
		"the account":             s.identity.Account != nil && s.identity.Account.ID == "111122223333",
		"a default":               s.identity.Audience == "sts.amazonaws.com",
	} {
		if !is {
			t.Errorf("%s was not read: %+v", name, s)
		}
	}
	if got := s.overridden(Options{Audience: "vault", AnnotationPrefix: "other"}); got.identity.Audience != "vault" || got.inject.AnnotationPrefix != "other" {
		t.Errorf("flags given to doctor do not count: %+v", got)
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
		"named":                          {map[string]string{key: testRole}, want{OK, testRole, "", ""}},
		"not named":                      {nil, want{Broken, "names no role", "no annotation " + key, "kubectl annotate --overwrite serviceaccount cart -n shop " + key + "=" + exampleRole}},
		"empty":                          {map[string]string{key: ""}, want{Broken, "names no role", "is empty", ""}},
		"misspelt":                       {map[string]string{"eks.amazonaws.com/rolearn": testRole}, want{Broken, "names no role", "did you mean", key + "=" + testRole + " eks.amazonaws.com/rolearn-"}},
		"misspelt, with a command in it": {map[string]string{"eks.amazonaws.com/rolearn": "$(reboot) it's"}, want{Broken, "", "", `'eks.amazonaws.com/role-arn=$(reboot) it'\''s' eks.amazonaws.com/rolearn-`}},
		"as kube2iam":                    {map[string]string{"iam.amazonaws.com/role": testRole}, want{Broken, "", "kube2iam", "iam.amazonaws.com/role-"}},
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
		"blanks":                   {map[string]string{prefix + "role-arn": " " + testRole}, want{Broken, "1 mistake", "spaces around it", prefix + "role-arn=" + testRole}},
		"a user's ARN":             {map[string]string{prefix + "role-arn": "arn:aws:iam::111122223333:user/x"}, want{Broken, "1 mistake", "user", prefix + "role-arn=" + exampleRole}},
		"an address as audience":   {map[string]string{prefix + "audience": "sts.eu-west-1.amazonaws.com"}, want{Warning, "1 mistake", "address", prefix + "audience-"}},
		"an audience with a blank": {map[string]string{prefix + "audience": "vault "}, want{Broken, "1 mistake", "", prefix + "audience=vault"}},
		"a misspelt one":           {map[string]string{prefix + "role-arn": testRole, prefix + "audiences": "vault"}, want{Warning, "1 mistake", "did you mean", prefix + "audience=vault " + prefix + "audiences-"}},
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
		"no policy":              {"on", nil, want{OK, "permits the role", "", ""}},
		"none where one must be": {"require", nil, want{Broken, "does not permit", "", key + "=" + testRole}},
		"another role":           {"on", map[string]string{key: "arn:aws:iam::111122223333:role/other"}, want{Broken, "does not permit", "", key + "=arn:aws:iam::111122223333:role/other," + testRole}},
		"another role in JSON":   {"on", map[string]string{key: `["prod-*"]`}, want{Broken, "does not permit", "", `'` + key + `=["prod-*","` + testRole + `"]'`}},
		"what kiam would not":    {"on", map[string]string{"iam.amazonaws.com/permitted": "prod-.*"}, want{Broken, "does not permit", "counts alone once it is there", ""}},
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
		t.Error("an annotation that nobody wrote has a time")
	}
}

// injected is a pod as the webhook makes it.
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

// podWithoutIdentity is a pod that the webhook has not seen.
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
	usual := podHistory{writtenAt: before, writtenBy: "kubectl", registered: before}
	for name, test := range map[string]struct {
		pod        *corev1.Pod
		podHistory podHistory
		want       want
	}{
		"it has one": {injected(nil), usual, want{OK, "in 1 container", "", ""}},
		"EKS Pod Identity": {podWithoutIdentity(func(p *corev1.Pod) {
			p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: envContainerURI, Value: "http://169.254.170.23"}}
		}), usual, want{Warning, "another identity", "agent", ""}},
		"a mirror pod":  {podWithoutIdentity(func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }), usual, want{Broken, "static pod", "DaemonSet", ""}},
		"it is skipped": {podWithoutIdentity(func(p *corev1.Pod) { p.Labels = map[string]string{inject.SkipPodLabel: ""} }), usual, want{Broken, "says to leave it alone", "", "kubectl label --overwrite pod cart"}},
		"all containers are skipped": {
			podWithoutIdentity(func(p *corev1.Pod) { p.Annotations = map[string]string{"eks.amazonaws.com/skip-containers": "app"} }), usual,
			want{Broken, "each of its containers is left alone", "app: the annotation skip-containers names it", "kubectl annotate pod cart -n shop eks.amazonaws.com/skip-containers- && "},
		},
		"the webhook is not called":                  {podWithoutIdentity(nil), podHistory{writtenAt: before, registered: before, notCalled: WebhookNamespace}, want{Broken, "not called for it", "webhook_namespace", "kubectl replace --force"}},
		"older than the annotation":                  {podWithoutIdentity(nil), podHistory{writtenAt: after, writtenBy: "kubectl-annotate", registered: before}, want{Broken, "older than the annotation", "kubectl-annotate wrote", "kubectl get pod cart -n shop -o yaml | kubectl replace --force -f -"}},
		"older than the annotation, of a Deployment": {ownedBy(podWithoutIdentity(nil)), podHistory{writtenAt: after, registered: before}, want{Broken, "older than the annotation", "", "kubectl rollout restart deployment/cart -n shop"}},
		"older than the webhook":                     {podWithoutIdentity(nil), podHistory{writtenAt: before, registered: after}, want{Broken, "older than the registration", "", ""}},
		"the webhook was down":                       {podWithoutIdentity(nil), podHistory{writtenAt: before, registered: before, ignoresFailures: true}, want{Broken, "did not give it one", "failurePolicy Ignore", ""}},
		"the webhook was not called then":            {podWithoutIdentity(nil), usual, want{Broken, "did not give it one", "not called when it was created", ""}},
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
		"it is":            {injected(nil), want{OK, "holds a token for sts.amazonaws.com", "", ""}},
		"another audience": {injected(func(p *corev1.Pod) { source(p).Audience = "vault" }), want{Broken, `for the audience "vault", not for "sts.amazonaws.com"`, "", "kubectl replace --force"}},
		"no volume":        {injected(func(p *corev1.Pod) { p.Spec.Volumes = nil }), want{Broken, "no volume with a token", "", "kubectl replace"}},
		"a volume of its own": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes[0].Name, p.Spec.Containers[0].VolumeMounts[0].Name = "mine", "mine"
		}), want{OK, "volume mine", "", ""}},
		"longer than is useful": {injected(func(p *corev1.Pod) { source(p).ExpirationSeconds = new(int64(100000)) }), want{Warning, "", "older than a day", ""}},
		"a volume of its own at another path": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes[0].Name, p.Spec.Containers[0].VolumeMounts[0].Name = "mine", "mine"
			p.Spec.Containers[0].VolumeMounts[0].MountPath, p.Spec.Containers[0].Env[1].Value = "/aws", "/aws/token"
		}), want{OK, "volume mine", "", ""}},
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
		"it has":               {injected(nil), want{OK, "whole in 1 container", "", ""}},
		"one lacks everything": {injected(second), want{Broken, "container sidecar lacks AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, the mount of the token", "", "kubectl replace"}},
		"one is skipped": {injected(func(p *corev1.Pod) {
			second(p)
			p.Annotations = map[string]string{"eks.amazonaws.com/skip-containers": "sidecar"}
		}), want{OK, "whole in 1 container", "sidecar is left alone", ""}},
		"the role of before": {injected(func(p *corev1.Pod) { p.Spec.Containers[0].Env[0].Value = "arn:aws:iam::111122223333:role/old" }), want{Broken, "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/old", "", "kubectl replace"}},
		"no mount":           {injected(func(p *corev1.Pod) { p.Spec.Containers[0].VolumeMounts = nil }), want{Broken, "container app lacks the mount of the token", "", ""}},
		"another file":       {injected(func(p *corev1.Pod) { p.Spec.Containers[0].Env[1].Value = "/elsewhere/serviceaccount/token" }), want{Broken, "sets an identity itself", "", ""}},
		"a label says to leave it alone": {injected(func(p *corev1.Pod) {
			p.Labels = map[string]string{inject.SkipPodLabel: "true"}
			p.Spec.Containers[0].Env[0].Value = "arn:aws:iam::111122223333:role/old"
		}), want{Broken, "AWS_ROLE_ARN=arn:aws:iam::111122223333:role/old", "", ""}},
		"the path is taken": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "other"})
			p.Spec.Containers[0].VolumeMounts[0].Name = "other"
		}), want{Broken, "mounts something else", "", ""}},
		"one lacks the identity at the fallback path": {injected(func(p *corev1.Pod) {
			second(p)
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "other"})
			p.Spec.Containers[1].VolumeMounts = []corev1.VolumeMount{{Name: "other", MountPath: "/var/run", ReadOnly: true}}
		}), want{Broken, "container sidecar lacks AWS_ROLE_ARN, AWS_WEB_IDENTITY_TOKEN_FILE, the mount of the token", "", "kubectl replace"}},
		"one has it there": {injected(func(p *corev1.Pod) {
			p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "other"})
			p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{
				{Name: "other", MountPath: "/var/run", ReadOnly: true},
				{Name: inject.VolumeName, MountPath: "/eks.amazonaws.com/serviceaccount", ReadOnly: true},
			}
			p.Spec.Containers[0].Env[1].Value = "/eks.amazonaws.com/serviceaccount/token"
		}), want{OK, "whole in 1 container", "", ""}},
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
		"nothing does":                             {injected(nil), want{OK, "no variable", "", ""}},
		"a key":                                    {env(corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: never}), want{Broken, "AWS_ACCESS_KEY_ID in container app (env)", "before they use a role", "kubectl set env -f - --local -c app AWS_ACCESS_KEY_ID-"}},
		"a key of a Deployment":                    {ownedBy(env(corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: never})), want{Broken, "", "", "kubectl set env deployment/cart -n shop -c app AWS_ACCESS_KEY_ID-"}},
		"an empty key":                             {env(corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID"}), want{OK, "no variable", "", ""}},
		"a key from a Secret":                      {env(corev1.EnvVar{Name: "AWS_SECRET_ACCESS_KEY", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "keys"}}}}), want{Broken, "from Secret keys", "", ""}},
		"a profile":                                {env(corev1.EnvVar{Name: "AWS_PROFILE", Value: never}), want{Warning, "AWS_PROFILE", "fail if the profile is not there", "AWS_PROFILE-"}},
		"a key beside a profile":                   {env(corev1.EnvVar{Name: "AWS_PROFILE", Value: never}, corev1.EnvVar{Name: "AWS_ACCESS_KEY_ID", Value: never}), want{Broken, "AWS_ACCESS_KEY_ID", "AWS_PROFILE in container", "AWS_ACCESS_KEY_ID-"}},
		"our own configuration of a chain":         {env(corev1.EnvVar{Name: envConfigFile, Value: "/var/run/secrets/eks.amazonaws.com/serviceaccount/config"}), want{OK, "", "", ""}},
		"envFrom a Secret":                         {envFrom("", "Secret", "keys"), want{Broken, "envFrom Secret keys", "", "kubectl set env -f - --local -c app AWS_ACCESS_KEY_ID= -o yaml"}},
		"envFrom with a prefix":                    {envFrom("AWS_", "Secret", "short"), want{Broken, "AWS_ACCESS_KEY_ID", "", "AWS_ACCESS_KEY_ID="}},
		"envFrom a Secret that may not be seen":    {envFrom("", "Secret", "hidden"), want{Unknown, "not allowed to get secrets/hidden in namespace shop", "and not its values", ""}},
		"envFrom a ConfigMap with a profile":       {envFrom("", "ConfigMap", "profile"), want{Warning, "envFrom ConfigMap profile", "", ""}},
		"an empty profile":                         {env(corev1.EnvVar{Name: "AWS_PROFILE"}), want{Warning, "AWS_PROFILE", "", "AWS_PROFILE-"}},
		"an endpoint of all services":              {env(corev1.EnvVar{Name: "AWS_ENDPOINT_URL", Value: never}), want{Warning, "AWS_ENDPOINT_URL in container app (env)", "call STS there, too; set AWS_ENDPOINT_URL_STS", ""}},
		"a session name":                           {env(corev1.EnvVar{Name: "AWS_ROLE_SESSION_NAME", Value: "a b"}), want{Warning, "AWS_ROLE_SESSION_NAME", "STS rejects", ""}},
		"envFrom a Secret, of a Deployment":        {ownedBy(envFrom("", "Secret", "keys")), want{Broken, "", "", "kubectl set env deployment/cart -n shop -c app AWS_ACCESS_KEY_ID="}},
		"envFrom a ConfigMap that is not there":    {envFrom("", "ConfigMap", "missing"), want{OK, "", "", ""}},
		"envFrom a ConfigMap without such a thing": {envFrom("", "ConfigMap", "harmless"), want{OK, "", "", ""}},
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
				t.Errorf("the value is told: %+v", got)
			}
		})
	}
}

// TestCheckToken_ownVolume is about a container that reads the token from a volume of its
// own, as Elasticsearch on ECK does.
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
		t.Errorf("of another audience: got %+v, want broken", got)
	}
}
