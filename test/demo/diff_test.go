package main

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestCompare(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		lossy  bool
		lines  []string
	}{
		"no difference": {change: func(*corev1.Pod) {}},
		"generated names and IDs are ignored": {change: func(p *corev1.Pod) {
			p.Name, p.UID, p.ResourceVersion = "pod-fghij", "2", "2"
			p.Spec.Volumes[1].Name = "kube-api-access-fghij"
		}},
		"an added variable": {
			change: func(p *corev1.Pod) {
				p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{Name: "B", Value: "2"})
			},
			lines: []string{
				"      - name: A",
				`        value: "1"`,
				"+     - name: B",
				`+       value: "2"`,
				"      image: app",
				"      name: app",
			},
		},
		"a volume added in the first place": {
			change: func(p *corev1.Pod) {
				p.Spec.Volumes = slices.Insert(p.Spec.Volumes, 0, corev1.Volume{Name: "new"})
			},
			lines: []string{
				"      resources: {}",
				"    volumes:",
				"+   - name: new",
				"    - name: own",
				"    - name: kube-api-access",
			},
		},
		"a removed label": {
			change: func(p *corev1.Pod) { p.Labels = nil },
			lossy:  true,
			lines: []string{
				"  metadata:",
				"    annotations: null",
				"-   labels:",
				"-     app: demo",
				"+   labels: null",
				"  spec:",
				"    containers:",
			},
		},
		"a changed variable": {
			change: func(p *corev1.Pod) { p.Spec.Containers[0].Env[0].Value = "3" },
			lossy:  true,
			lines: []string{
				"    - env:",
				"      - name: A",
				`-       value: "1"`,
				`+       value: "3"`,
				"      image: app",
				"      name: app",
			},
		},
		"volumes in another order": {
			change: func(p *corev1.Pod) { slices.Reverse(p.Spec.Volumes) },
			lossy:  true,
			lines: []string{
				"      resources: {}",
				"    volumes:",
				"+   - name: kube-api-access",
				"    - name: own",
				"-   - name: kube-api-access",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			before := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "pod-abcde", UID: "1", ResourceVersion: "1", Labels: map[string]string{"app": "demo"}},
				Spec: corev1.PodSpec{
					Containers: []corev1.Container{{Name: "app", Image: "app", Env: []corev1.EnvVar{{Name: "A", Value: "1"}}}},
					Volumes:    []corev1.Volume{{Name: "own"}, {Name: "kube-api-access-abcde"}},
				},
			}
			after := before.DeepCopy()
			test.change(after)
			got, err := compare(before, after)
			if err != nil {
				t.Fatal(err)
			}
			if got.lossy != test.lossy {
				t.Errorf("got lossy %t, want %t", got.lossy, test.lossy)
			}
			if !slices.Equal(got.lines, test.lines) {
				t.Errorf("got lines\n%q\nwant\n%q", got.lines, test.lines)
			}
		})
	}
}
