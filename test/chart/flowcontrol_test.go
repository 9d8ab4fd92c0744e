package chart_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

// matchingPrecedences of Kubernetes's own FlowSchemas for nodes, controllers and other
// ServiceAccounts, from k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap.
const (
	systemNodesPrecedence               = 500
	kubeControllerManagerPrecedence     = 800
	kubeSystemServiceAccountsPrecedence = 900
)

func TestFlowControl_matchesTheServiceAccountOfThePods(t *testing.T) {
	forEachValues(t, func(t *testing.T, _ string, manifests []byte) {
		objects := decode(t, manifests)
		schemas, levels := all[*flowcontrolv1.FlowSchema](objects), all[*flowcontrolv1.PriorityLevelConfiguration](objects)
		if len(schemas) == 0 && len(levels) == 0 {
			return // flowControl.enabled is false
		}
		schema, level := one[*flowcontrolv1.FlowSchema](t, objects), one[*flowcontrolv1.PriorityLevelConfiguration](t, objects)
		if got := schema.Spec.PriorityLevelConfiguration.Name; got != level.Name {
			t.Errorf("got priority level %q, want %q", got, level.Name)
		}
		deployment := one[*appsv1.Deployment](t, objects)
		want := []flowcontrolv1.Subject{{
			Kind: flowcontrolv1.SubjectKindServiceAccount,
			ServiceAccount: &flowcontrolv1.ServiceAccountSubject{
				Namespace: deployment.Namespace, Name: deployment.Spec.Template.Spec.ServiceAccountName,
			},
		}}
		for _, rule := range schema.Spec.Rules {
			if difference := cmp.Diff(want, rule.Subjects); difference != "" {
				t.Errorf("subjects differ (-want +got):\n%s", difference)
			}
		}
		got := schema.Spec.MatchingPrecedence
		if got <= systemNodesPrecedence || got >= min(kubeControllerManagerPrecedence, kubeSystemServiceAccountsPrecedence) {
			t.Errorf("got matchingPrecedence %d, want one between nodes and all ServiceAccounts", got)
		}
	})
}

func TestFlowControl_disabled(t *testing.T) {
	manifests, err := chart.Render(t.Context(), namespace, "flowControl.enabled=false")
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, manifests)
	if got := len(all[*flowcontrolv1.FlowSchema](objects)) + len(all[*flowcontrolv1.PriorityLevelConfiguration](objects)); got != 0 {
		t.Errorf("got %d flow control objects, want 0", got)
	}
}
