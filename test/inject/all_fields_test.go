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

// filledPods is the number of filled pods. The number of a pod is its random seed.
const filledPods = 100

// TestProperties_allFieldsSet fills all fields of the API with random values, including
// the ones that podGenerator never sets.
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
		t.Errorf("got only %d of %d pods injected, want more", injected, filledPods)
	}
}

// fillPod returns a pod with a random value in each field.
func fillPod(seed int64) *corev1.Pod {
	pod := new(corev1.Pod)
	randfill.NewWithSeed(seed).NilChance(0.2).NumElements(0, 4).Funcs(
		// These types have a JSON form that does not follow from their fields.
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewQuantity(c.Int63n(1000), resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) { *v = intstr.FromInt32(c.Int31()) },
		func(v *metav1.Time, c randfill.Continue) { *v = metav1.Unix(c.Int63n(1<<32), 0) },
		func(v *metav1.MicroTime, c randfill.Continue) {
			*v = metav1.NewMicroTime(metav1.Unix(c.Int63n(1<<32), 0).Time)
		},
		func(v *metav1.FieldsV1, _ randfill.Continue) { v.SetRawBytes([]byte(`{"f:spec":{}}`)) },
		// Some variables that the webhook reads. podGenerator covers all of them.
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
