package e2e_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// BenchmarkGuard measures the creation of a pod, as a dry run, alternating between a
// guarded and an unguarded namespace. The metrics are 10th percentiles, because other
// load on the machine only adds time. ns/op is the time of both together. A dry run
// does not write to etcd. A real creation takes longer by that time in both cases,
// so the ratio is smaller.
func BenchmarkGuard(b *testing.B) {
	client := newClient(b)
	guarded(b, client, "mode=opt-in")
	for _, accounts := range []int{1, 100, 1000} {
		free, watched := populate(b, client, accounts), populate(b, client, accounts)
		label(b, client, watched, optInLabel, "enabled")
		waitDenied(b, client, watched, "app")
		for _, pod := range []struct {
			name string
			pod  *corev1.Pod
		}{
			{"no-role", podOf("app", "default")},
			{"role", injected(podOf("app", "app"))},
			{"refused", podOf("app", "app")},
		} {
			b.Run(fmt.Sprintf("%s/serviceaccounts=%d", pod.name, accounts), func(b *testing.B) {
				took := map[string][]time.Duration{}
				for b.Loop() {
					for _, namespace := range []string{free, watched} {
						began := time.Now()
						err := dryRun(b.Context(), client, namespace, pod.pod)
						took[namespace] = append(took[namespace], time.Since(began))
						if refused := namespace == watched && pod.name == "refused"; refused != deniedByGuard(err) || err != nil && !refused {
							b.Fatal(err)
						}
					}
				}
				without, with := percentile10(took[free]), percentile10(took[watched])
				b.ReportMetric(without, "µs-without")
				b.ReportMetric(with, "µs-with")
				b.ReportMetric(with/without, "times")
			})
		}
	}
}

// populate creates a namespace with a number of ServiceAccounts with a role, one of
// them named app, and the ServiceAccount default.
func populate(b *testing.B, client kubernetes.Interface, accounts int) string {
	b.Helper()
	namespace := newNamespace(b, client)
	for i := range accounts {
		name := fmt.Sprintf("app-%d", i)
		if i == accounts/2 {
			name = "app"
		}
		if _, err := client.CoreV1().ServiceAccounts(namespace).Create(b.Context(), serviceAccount(name, appRole), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		err := client.CoreV1().ServiceAccounts(namespace).DeleteCollection(context.WithoutCancel(b.Context()), metav1.DeleteOptions{}, metav1.ListOptions{})
		if err != nil {
			b.Error(err)
		}
	})
	return namespace
}

// injected returns a pod as the webhook injects it.
func injected(pod *corev1.Pod) *corev1.Pod {
	pod.Spec.Volumes = []corev1.Volume{{Name: "aws-iam-token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "sts.amazonaws.com", Path: "token"}}},
	}}}}
	container := &pod.Spec.Containers[0]
	container.Env = append(container.Env,
		corev1.EnvVar{Name: "AWS_ROLE_ARN", Value: appRole}, corev1.EnvVar{Name: "AWS_WEB_IDENTITY_TOKEN_FILE", Value: tokenDir + "/token"})
	container.VolumeMounts = []corev1.VolumeMount{{Name: "aws-iam-token", MountPath: tokenDir, ReadOnly: true}}
	return pod
}

// percentile10 returns the 10th percentile of the durations, in microseconds.
func percentile10(durations []time.Duration) float64 {
	slices.Sort(durations)
	return float64(durations[len(durations)/10].Microseconds())
}
