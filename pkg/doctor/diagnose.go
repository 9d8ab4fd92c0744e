package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// Pod diagnoses one pod, and the ServiceAccount that it runs as.
func (d *Doctor) Pod(ctx context.Context, namespace, name string) (Report, error) {
	pod, err := d.Client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Report{}, fmt.Errorf("pod %s/%s does not exist", namespace, name)
	}
	if err != nil {
		finding := readErrorFinding(permission{"get", "pods", namespace, name}, err)
		finding.Check, finding.Step, finding.Object = PodInjected, LinkPod, "pod/"+name
		return Report{Namespace: namespace, Pod: name, PodsUnseen: true, Status: Unknown, Findings: []Finding{finding}}, nil
	}
	x := newCheckState(ctx, d, namespace, pod.Spec.ServiceAccountName)
	x.pods = []corev1.Pod{*pod}
	report := x.diagnose(ctx)
	report.Pod = name
	return report, nil
}

// ServiceAccount diagnoses a ServiceAccount and its pods.
func (d *Doctor) ServiceAccount(ctx context.Context, namespace, name string) (Report, error) {
	x := newCheckState(ctx, d, namespace, name)
	unread := x.readPods(ctx)
	report := x.diagnose(ctx)
	if unread != nil {
		report.PodsUnseen = true
		report.add(*unread)
	}
	return report, nil
}

func (r *Report) add(findings ...Finding) {
	for _, f := range findings {
		// By link, so that the text need not sort.
		at := len(r.Findings)
		for at > 0 && rank(r.Findings[at-1].Step) > rank(f.Step) {
			at--
		}
		r.Findings = slices.Insert(r.Findings, at, f)
	}
	r.Status = Worst(r.Findings)
}

func rank(l Step) int {
	return slices.Index([]Step{LinkServiceAccount, LinkWebhook, LinkPod, LinkIssuer, LinkIAM, LinkSTS}, l)
}

// readPods finds the pods of the ServiceAccount that have not ended.
func (x *checkState) readPods(ctx context.Context) *Finding {
	selector := fields.OneTermEqualSelector("spec.serviceAccountName", x.serviceAccount).String()
	err := eachPage(ctx, func(options metav1.ListOptions) (string, error) {
		options.FieldSelector = selector
		page, err := x.Client.CoreV1().Pods(x.namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if !ended(&page.Items[i]) {
				x.pods = append(x.pods, page.Items[i])
			}
		}
		return page.Continue, nil
	})
	if err == nil {
		return nil
	}
	finding := readErrorFinding(permission{verb: "list", resource: "pods", namespace: x.namespace}, err)
	finding.Check, finding.Step = PodInjected, LinkPod
	return &finding
}

func ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// eachPage lists page by page.
func eachPage(ctx context.Context, list func(metav1.ListOptions) (next string, err error)) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		next, err := list(options)
		if err != nil || next == "" || ctx.Err() != nil {
			return err
		}
		options.Continue = next
	}
}

// diagnose makes all checks.
func (x *checkState) diagnose(ctx context.Context) Report {
	report := Report{Namespace: x.namespace, ServiceAccount: x.serviceAccount}
	report.add(runChecks(ctx, accountChecks(), x)...)
	report.add(runChecks(ctx, webhookChecks(), x)...)
	report.add(runChecks(ctx, callChecks(), x)...)
	report.add(runChecks(ctx, endpointChecks(), x)...)
	x.diagnoseAfterWebhook(ctx, &report)
	return report
}

// diagnoseAfterWebhook makes the checks that follow those of the webhook.
func (x *checkState) diagnoseAfterWebhook(ctx context.Context, report *Report) {
	report.Pods = len(x.pods)
	if x.identity != nil {
		report.Role = x.identity.RoleARN
	}
	for _, alike := range x.diagnosePods(ctx) {
		report.add(alike...)
	}
	report.add(runChecks(ctx, awsChecks(), x)...)
}

// diagnosePods makes the checks of each pod. Pods of one owner that have the same
// findings are told once.
func (x *checkState) diagnosePods(ctx context.Context) [][]Finding {
	var all [][]Finding
	seen := map[string]int{}
	more := map[int]int{}
	for i := range x.pods {
		x.pod = &x.pods[i]
		x.object = "pod/" + x.pod.Name
		findings := runChecks(ctx, podChecks(), x)
		key := groupKey(x.pod, findings)
		if at, alike := seen[key]; alike {
			more[at]++
			continue
		}
		seen[key] = len(all)
		all = append(all, findings)
	}
	x.object = ""
	for at, n := range more {
		for i := range all[at] {
			all[at][i] = all[at][i].withEvidence("pods like it", fmt.Sprint(n))
		}
	}
	return all
}

// groupKey is the same for pods of one owner whose findings are the same.
func groupKey(pod *corev1.Pod, findings []Finding) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return pod.Name
	}
	key := []string{string(owner.UID)}
	for _, f := range findings {
		key = append(key, string(f.Check), string(f.Status), strings.ReplaceAll(f.Summary+f.Why, pod.Name, ""))
	}
	return strings.Join(key, "\x00")
}
