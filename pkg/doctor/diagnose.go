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

// Pod diagnoses one pod and its ServiceAccount. It returns an error if the pod does not
// exist. If the pod cannot be read, the report has the status Unknown.
func (d *Doctor) Pod(ctx context.Context, namespace, name string) (Report, error) {
	pod, err := d.Client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return Report{}, fmt.Errorf("pod %s/%s does not exist", namespace, name)
	}
	if err != nil {
		finding := readErrorFinding(permission{"get", "pods", namespace, name}, err)
		finding.Check, finding.Step, finding.Object = PodInjected, StepPod, "pod/"+name
		return Report{Namespace: namespace, Pod: name, PodsUnreadable: true, Status: Unknown, Findings: []Finding{finding}}, nil
	}
	x := newCheckState(ctx, d, namespace, pod.Spec.ServiceAccountName)
	x.pods = []corev1.Pod{*pod}
	report := x.diagnose(ctx)
	report.Pod = name
	return report, nil
}

// ServiceAccount diagnoses a ServiceAccount and its pods. Failed reads are findings of
// the report, so the error is always nil.
func (d *Doctor) ServiceAccount(ctx context.Context, namespace, name string) (Report, error) {
	x := newCheckState(ctx, d, namespace, name)
	unread := x.readPods(ctx)
	report := x.diagnose(ctx)
	if unread != nil {
		report.PodsUnreadable = true
		report.add(*unread)
	}
	return report, nil
}

func (r *Report) add(findings ...Finding) {
	for _, f := range findings {
		// Keep the findings ordered by step, so that printing needs no sort.
		at := len(r.Findings)
		for at > 0 && rank(r.Findings[at-1].Step) > rank(f.Step) {
			at--
		}
		r.Findings = slices.Insert(r.Findings, at, f)
	}
	r.Status = Worst(r.Findings)
}

func rank(l Step) int {
	return slices.Index([]Step{StepServiceAccount, StepWebhook, StepPod, StepIssuer, StepIAM, StepSTS}, l)
}

// readPods reads the pods of the ServiceAccount that have not terminated. It returns a
// finding if it cannot list pods.
func (x *checkState) readPods(ctx context.Context) *Finding {
	selector := fields.OneTermEqualSelector("spec.serviceAccountName", x.serviceAccount).String()
	err := eachPage(ctx, func(options metav1.ListOptions) (string, error) {
		options.FieldSelector = selector
		page, err := x.Client.CoreV1().Pods(x.namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if !isTerminated(&page.Items[i]) {
				x.pods = append(x.pods, page.Items[i])
			}
		}
		return page.Continue, nil
	})
	if err == nil {
		return nil
	}
	finding := readErrorFinding(permission{verb: "list", resource: "pods", namespace: x.namespace}, err)
	finding.Check, finding.Step = PodInjected, StepPod
	return &finding
}

func isTerminated(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// eachPage calls list for each page until there is none left. It returns the first error
// of list, or that of ctx if it is canceled between two pages.
func eachPage(ctx context.Context, list func(metav1.ListOptions) (next string, err error)) error {
	options := metav1.ListOptions{Limit: pageSize}
	for {
		next, err := list(options)
		if err != nil || next == "" {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		options.Continue = next
	}
}

// diagnose runs all checks.
func (x *checkState) diagnose(ctx context.Context) Report {
	report := Report{Namespace: x.namespace, ServiceAccount: x.serviceAccount}
	report.add(runChecks(ctx, accountChecks(), x)...)
	report.add(runChecks(ctx, webhookChecks(), x)...)
	report.add(runChecks(ctx, callChecks(), x)...)
	report.add(runChecks(ctx, endpointChecks(), x)...)
	x.diagnoseAfterWebhook(ctx, &report)
	return report
}

// diagnoseAfterWebhook runs the checks of the pods, the issuer, IAM and STS.
func (x *checkState) diagnoseAfterWebhook(ctx context.Context, report *Report) {
	report.Pods = len(x.pods)
	if x.identity != nil {
		report.Role = x.identity.RoleARN
	}
	for _, findings := range x.diagnosePods(ctx) {
		report.add(findings...)
	}
	report.add(overruleTrustPolicy(runChecks(ctx, awsChecks(), x))...)
}

// diagnosePods runs the checks of each pod. Pods of one owner with the same findings are
// reported once.
func (x *checkState) diagnosePods(ctx context.Context) [][]Finding {
	var all [][]Finding
	seen := map[string]int{}
	more := map[int]int{}
	for i := range x.pods {
		x.pod = &x.pods[i]
		x.object = "pod/" + x.pod.Name
		findings := runChecks(ctx, podChecks(), x)
		key := groupKey(x.pod, findings)
		if at, duplicate := seen[key]; duplicate {
			more[at]++
			continue
		}
		seen[key] = len(all)
		all = append(all, findings)
	}
	x.object = ""
	for at, n := range more {
		for i := range all[at] {
			all[at][i] = all[at][i].withEvidence("other pods with these findings", fmt.Sprint(n))
		}
	}
	return all
}

// groupKey returns a key that is equal for pods of one owner with the same findings.
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
