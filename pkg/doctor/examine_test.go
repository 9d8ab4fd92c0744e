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
	var asked []string
	err := eachPage(t.Context(), func(options metav1.ListOptions) (string, error) {
		if options.Limit != pageSize {
			t.Errorf("limit %d", options.Limit)
		}
		asked = append(asked, options.Continue)
		return []string{"a", "b", ""}[len(asked)-1], nil
	})
	if err != nil || !slices.Equal(asked, []string{"", "a", "b"}) {
		t.Errorf("asked for %q, %v", asked, err)
	}
}

func TestDiagnosePods_deduplicates(t *testing.T) {
	x := examinationOf(accountWith(map[string]string{"eks.amazonaws.com/role-arn": testRole}))
	x.identity = podWithIdentity(nil)
	x.webhook.registrations = []registration{*registrationOf(nil)}
	for i := range 5 {
		pod := ownedBy(injected(nil))
		pod.Name = fmt.Sprintf("cart-5d9c7b6f4-%d", i)
		if i == 4 {
			pod = ownedBy(podWithoutIdentity(nil))
			pod.Name = "cart-5d9c7b6f4-old"
		}
		x.pods = append(x.pods, *pod)
	}
	told := x.diagnosePods(t.Context())
	if len(told) != 2 {
		t.Fatalf("%d pods are told, want 2", len(told))
	}
	if got := told[0][0].Evidence; len(got) != 1 || got[0] != (EvidenceItem{"pods like it", "3"}) {
		t.Errorf("the first is alike %v", got)
	}
	if got := Worst(told[1]); got != Broken {
		t.Errorf("the one that is not alike is %s", got)
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
		"which the webhook reads":            {[]string{"--watch-config-map", "--namespace=irsa"}, running, "irsa", want{OK, "ConfigMap irsa/pod-identity-webhook names " + testRole, "", ""}},
		"which is not there":                 {[]string{"--watch-config-map", "--namespace=irsa"}, running, "other", want{Broken, "names no role", "", "kubectl annotate"}},
		"which the webhook does not read":    {nil, running, "eks", want{Broken, "names no role", "", ""}},
		"which the webhook may read, or not": {nil, nil, "eks", want{Unknown, "cannot be seen whether", "--watch-config-map", ""}},
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
			`{"shop/cart":{"RoleARN":"` + testRole + `"},"no-slash":{}}`, nil, want{OK, "ConfigMap irsa/pod-identity-webhook names " + testRole, "", ""},
		},
		"its own entry is null": {
			`{"shop/cart":null}`, nil, want{Broken, "names no role", `skips invalid entries of ConfigMap irsa/pod-identity-webhook: "shop/cart" is null`, "kubectl annotate"},
		},
		"the content cannot be decoded": {
			`{"shop/cart":`, nil, want{Unknown, "ConfigMap irsa/pod-identity-webhook cannot be decoded", "keeps the last mapping", ""},
		},
		"the content cannot be decoded and the ServiceAccount has a role": {
			`{"shop/cart":`, map[string]string{"eks.amazonaws.com/role-arn": testRole}, want{OK, testRole, "", ""},
		},
		"the ConfigMap has no mapping": {"", nil, want{Broken, "names no role", "", "kubectl annotate"}},
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
	want{Unknown, "it names no role itself, and it cannot be seen whether ConfigMap eks/pod-identity-webhook does", "--watch-config-map", "kubectl annotate"}.check(t, checkRole(t.Context(), x))
	x = examinationOf(accountWith(map[string]string{"eks.amazonaws.com/rolearn": testRole}))
	x.Client = client
	want{Broken, "names no role", "did you mean", "kubectl annotate"}.check(t, checkRole(t.Context(), x))
}

func TestCheckRole_noServiceAccount(t *testing.T) {
	x := examinationOf(nil)
	x.serviceAccount = ""
	want{Broken, "names no ServiceAccount", "static pod", ""}.check(t, checkServiceAccount(t.Context(), x))

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

// TestCheckDryRun_permissions says that whoever may not see the webhook
// sees all the same what becomes of a pod.
func TestCheckDryRun_permissions(t *testing.T) {
	client := fake.NewClientset()
	client.PrependReactor("create", "pods", func(action kubetesting.Action) (bool, runtime.Object, error) {
		pod := action.(kubetesting.CreateAction).GetObject().(*corev1.Pod)
		pod.Spec.Containers[0].Env = injected(nil).Spec.Containers[0].Env
		return true, pod, nil
	})
	for status, want := range map[Status]want{
		Unknown: {OK, "gets its identity", "", ""},
		Broken:  {Skipped, "webhook_registered is broken", "", ""},
	} {
		x := examinationOf(accountWith(nil))
		x.Client, x.identity = client, podWithIdentity(nil)
		x.status[RoleNamed], x.status[WebhookRegistered] = OK, status
		for _, finding := range runChecks(t.Context(), callChecks(), x) {
			if finding.Check == WebhookTrial {
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
			t.Errorf("%s: read %d times, want %d", key, got, want)
		}
	}
}

func TestDoctor_contextCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	findings := runChecks(ctx, accountChecks()[:1], examinationOf(accountWith(nil)))
	if findings[0].Status != Unknown {
		t.Errorf("it is %s", findings[0].Status)
	}
}
