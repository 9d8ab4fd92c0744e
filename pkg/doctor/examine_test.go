package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

func TestEachPage(t *testing.T) {
	var tokens []string
	err := eachPage(t.Context(), func(options metav1.ListOptions) (string, error) {
		if options.Limit != pageSize {
			t.Errorf("got limit %d, want %d", options.Limit, pageSize)
		}
		tokens = append(tokens, options.Continue)
		return []string{"a", "b", ""}[len(tokens)-1], nil
	})
	if err != nil || !slices.Equal(tokens, []string{"", "a", "b"}) {
		t.Errorf("got continue tokens %q and error %v", tokens, err)
	}
}

func TestEachPage_canceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	err := eachPage(ctx, func(metav1.ListOptions) (string, error) {
		cancel()
		return "next", nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v for a list of which a page is missing, want %v", err, context.Canceled)
	}
}

func TestDiagnosePods_deduplicates(t *testing.T) {
	x := examinationOf(accountWith(map[string]string{"eks.amazonaws.com/role-arn": testRole}))
	x.identity = podWithIdentity(nil)
	x.webhook.entries = []webhookEntry{*entryOf(nil)}
	for i := range 5 {
		pod := ownedBy(injected(nil))
		pod.Name = fmt.Sprintf("cart-5d9c7b6f4-%d", i)
		if i == 4 {
			pod = ownedBy(podWithoutIdentity(nil))
			pod.Name = "cart-5d9c7b6f4-old"
		}
		x.pods = append(x.pods, *pod)
	}
	groups := x.diagnosePods(t.Context())
	if len(groups) != 2 {
		t.Fatalf("got %d pods, want 2", len(groups))
	}
	if got := groups[0][0].Evidence; len(got) != 1 || got[0] != (EvidenceItem{"other pods with these findings", "3"}) {
		t.Errorf("first pod: got evidence %v, want 3 other pods", got)
	}
	if got := Worst(groups[1]); got != Broken {
		t.Errorf("second pod: got %s, want broken", got)
	}
}

func TestCheckRole_configMap(t *testing.T) {
	configMap := func(namespace string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "pod-identity-webhook"},
			Data:       map[string]string{"config": `{"shop/cart":{"RoleARN":"` + testRole + `"}}`},
		}
	}
	running := []corev1.Pod{{}}
	for name, test := range map[string]struct {
		args []string
		pods []corev1.Pod
		in   string
		want want
	}{
		"the webhook reads it":         {[]string{"--watch-config-map", "--namespace=irsa"}, running, "irsa", want{OK, "ConfigMap irsa/pod-identity-webhook gives ServiceAccount shop/cart role " + testRole, "", ""}},
		"it is missing":                {[]string{"--watch-config-map", "--namespace=irsa"}, running, "other", want{Broken, "has no annotation", "", "kubectl annotate"}},
		"the webhook does not read it": {nil, running, "eks", want{Broken, "has no annotation", "", ""}},
		"the flags are unknown":        {nil, nil, "eks", want{Unknown, "cannot determine whether", "--watch-config-map", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			x := examinationOf(accountWith(nil), test.args...)
			x.Doctor = &Doctor{Client: fake.NewClientset(configMap(test.in))}
			x.webhook.pods = test.pods
			test.want.check(t, checkRole(t.Context(), x))
		})
	}
}

func TestCheckRole_invalidConfigMap(t *testing.T) {
	for name, test := range map[string]struct {
		content     string
		annotations map[string]string
		want        want
	}{
		"another entry is invalid": {
			`{"shop/cart":{"RoleARN":"` + testRole + `"},"no-slash":{}}`, nil, want{OK, "ConfigMap irsa/pod-identity-webhook gives ServiceAccount shop/cart role " + testRole, "", ""},
		},
		"its own entry is null": {
			`{"shop/cart":null}`, nil, want{Broken, "has no annotation", `skips invalid entries of ConfigMap irsa/pod-identity-webhook: "shop/cart" is null`, "kubectl annotate"},
		},
		"the content cannot be decoded": {
			`{"shop/cart":`, nil, want{Unknown, "ConfigMap irsa/pod-identity-webhook cannot be decoded", "keeps the last mapping", ""},
		},
		"the content cannot be decoded and the ServiceAccount has a role": {
			`{"shop/cart":`, map[string]string{"eks.amazonaws.com/role-arn": testRole}, want{OK, testRole, "", ""},
		},
		"the ConfigMap has no mapping": {"", nil, want{Broken, "has no annotation", "", "kubectl annotate"}},
	} {
		t.Run(name, func(t *testing.T) {
			configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "irsa", Name: "pod-identity-webhook"}}
			if test.content != "" {
				configMap.Data = map[string]string{"config": test.content}
			}
			x := examinationOf(accountWith(test.annotations), "--watch-config-map", "--namespace=irsa")
			x.Doctor = &Doctor{Client: fake.NewClientset(configMap)}
			x.webhook.pods = []corev1.Pod{{}}
			test.want.check(t, checkRole(t.Context(), x))
		})
	}
}

func TestCluster_invalidConfigMap(t *testing.T) {
	for content, want := range map[string]want{
		`{"shop/cart":null}`: {Warning, "has invalid entries", `"shop/cart" is null`, ""},
		`[]`:                 {Broken, "cannot be decoded", "keep the last mapping", ""},
	} {
		d := &Doctor{Client: fake.NewClientset(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "irsa", Name: "pod-identity-webhook"}, Data: map[string]string{"config": content},
		})}
		d.known.webhook.get(struct{}{}, func() *webhookInfo {
			return &webhookInfo{settings: readSettings([]string{"--watch-config-map", "--namespace=irsa"})}
		})
		report, err := d.Cluster(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(report.Findings, func(f Finding) bool { return f.Check == RoleNamed })
		if i < 0 {
			t.Fatalf("%s: got no finding of %s in %+v", content, RoleNamed, report.Findings)
		}
		want.check(t, report.Findings[i])
	}
}

func TestCheckRole_configMapForbidden(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("get", "configmaps", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "pod-identity-webhook", errors.New("no"))
	})
	x := examinationOf(accountWith(nil))
	x.Client = client
	want{Unknown, "role of ServiceAccount shop/cart is unknown: not allowed to get ConfigMap eks/pod-identity-webhook", "--watch-config-map", "kubectl annotate"}.check(t, checkRole(t.Context(), x))
	x = examinationOf(accountWith(map[string]string{"eks.amazonaws.com/rolearn": testRole}))
	x.Client = client
	want{Broken, "has no annotation", "did you mean", "kubectl annotate"}.check(t, checkRole(t.Context(), x))
}

func TestCheckRole_noServiceAccount(t *testing.T) {
	x := examinationOf(nil)
	x.serviceAccount = ""
	want{Broken, "has no ServiceAccount", "static pod", ""}.check(t, checkServiceAccount(t.Context(), x))

	x = examinationOf(accountWith(nil))
	x.Doctor = &Doctor{Client: fake.NewClientset()}
	x.pods = []corev1.Pod{*podWithoutIdentity(func(p *corev1.Pod) { p.Spec.Containers[0].Env = []corev1.EnvVar{{Name: envContainerURI}} })}
	want{Skipped, "EKS Pod Identity", "", ""}.check(t, checkRole(t.Context(), x))
}

func TestCluster_configMapForbidden(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("get", "configmaps", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), "pod-identity-webhook", errors.New("no"))
	})
	d := &Doctor{Client: client}
	d.known.webhook.get(struct{}{}, func() *webhookInfo {
		return &webhookInfo{settings: readSettings([]string{"--watch-config-map"})}
	})
	report, err := d.Cluster(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for _, finding := range report.Findings {
		if finding.Check == RoleNamed {
			want{Unknown, "not allowed to get configmaps/pod-identity-webhook", "", ""}.check(t, finding)
			return
		}
	}
	t.Errorf("got %+v", report.Findings)
}

// TestCheckDryRun_permissions checks that the dry run does not need permission to read
// webhook configurations.
func TestCheckDryRun_permissions(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		pod := action.(kubetesting.CreateAction).GetObject().(*corev1.Pod)
		pod.Spec.Containers[0].Env = injected(nil).Spec.Containers[0].Env
		return true, pod, nil
	})
	for status, want := range map[Status]want{
		Unknown: {OK, "gets the identity of its ServiceAccount", "", ""},
		Broken:  {Skipped, "webhook_registered is broken", "", ""},
	} {
		x := examinationOf(accountWith(nil))
		x.Client, x.identity = client, podWithIdentity(nil)
		x.status[RoleNamed], x.status[WebhookRegistered] = OK, status
		for _, finding := range runChecks(t.Context(), callChecks(), x) {
			if finding.Check == WebhookDryRun {
				want.check(t, finding)
			}
		}
	}
}

func TestDoctor_cachesReads(t *testing.T) {
	var m onceCache[string, int]
	reads := 0
	read := func() int { reads++; return reads }
	for _, key := range []string{"a", "a", "b"} {
		if got, want := m.get(key, read), map[string]int{"a": 1, "b": 2}[key]; got != want {
			t.Errorf("%s: got read %d, want %d", key, got, want)
		}
	}
}

func TestDoctor_contextCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	findings := runChecks(ctx, accountChecks()[:1], examinationOf(accountWith(nil)))
	if findings[0].Status != Unknown {
		t.Errorf("got %s, want unknown", findings[0].Status)
	}
}
