package inject_test

import (
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// filledPods is how many pods are filled, each from a seed that is its number.
const filledPods = 100

// TestProperties_allFieldsSet fills all fields that the API
// has, also those that no drawn pod has, with anything.
func TestProperties_allFieldsSet(t *testing.T) {
	settings := testcases.Defaults()
	settings.Region, settings.RegionalSTS = "eu-west-1", true
	id := identity.FromAnnotations(map[string]string{"eks.amazonaws.com/role-arn": roleARN}, settings.Identity())
	ids := identities(settings)
	injected := 0
	for seed := range int64(filledPods) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			pod := fillPod(seed)
			document, err := json.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			view, err := decode(document)
			if err != nil {
				t.Fatal(err)
			}
			checkView(t, view, toPod(t, document))
			checkProperties(t, document, ids[seed%int64(len(ids))], settings.Inject())
			if result, _ := decideBytes(t, document, id, settings.Inject()); result.Reason == inject.Injected {
				injected++
			}
		})
	}
	if injected < filledPods/2 {
		t.Errorf("only %d of %d pods were injected: what was tested?", injected, filledPods)
	}
}

// fillPod returns a pod with each field filled by chance.
func fillPod(seed int64) *corev1.Pod {
	pod := new(corev1.Pod)
	randfill.NewWithSeed(seed).NilChance(0.2).NumElements(0, 4).Funcs(
		// These have a JSON form of their own, which their fields do not tell.
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(1000), resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) { *v = intstr.FromInt32(c.Int31()) },
		func(v *metav1.Time, c randfill.Continue) { *v = metav1.Unix(c.Int63n(1<<32), 0) },
		func(v *metav1.MicroTime, c randfill.Continue) {
			*v = metav1.NewMicroTime(metav1.Unix(c.Int63n(1<<32), 0).Time)
		},
		func(v *metav1.FieldsV1, _ randfill.Continue) { v.SetRawBytes([]byte(`{"f:spec":{}}`)) },
		// Some variables are of interest, where the drawn pods have them all.
		func(v *corev1.EnvVar, c randfill.Continue) {
			c.FillNoCustom(v)
			if c.Intn(4) == 0 {
				v.Name = envOrder()[c.Intn(len(envOrder()))]
			}
		},
	).Fill(pod)
	pod.Spec.ServiceAccountName = "app"
	return pod
}
