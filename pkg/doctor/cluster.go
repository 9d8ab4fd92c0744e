package doctor

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

// maxConcurrent is the number of ServiceAccounts that are checked concurrently.
const maxConcurrent = 8

// Cluster diagnoses each ServiceAccount that has a role or a misspelled role annotation.
// It reads one namespace, or all if namespace is empty. Failed reads are findings of the
// report, so the error is always nil.
func (d *Doctor) Cluster(ctx context.Context, namespace string) (ClusterReport, error) {
	report := ClusterReport{ServiceAccounts: []Report{}}
	shared := newCheckState(ctx, d, namespace, "")
	report.Findings = runChecks(ctx, webhookChecks(), shared)
	accounts, err := d.accounts(ctx, namespace, shared.settings)
	if err != nil {
		finding := readErrorFinding(permission{verb: "list", resource: "serviceaccounts", namespace: namespace}, err)
		finding.Check, finding.Step = ServiceAccountExists, StepServiceAccount
		report.Findings = append(report.Findings, finding)
	}
	if shared.settings.configMap {
		if finding, ok := evaluateMapping(d.mapping(ctx, shared.settings), shared.settings); ok {
			finding.Check, finding.Step = RoleNamed, StepServiceAccount
			report.Findings = append(report.Findings, finding)
		}
	}
	pods, err := d.podsOf(ctx, namespace, accounts)
	podsUnread := err != nil
	if podsUnread {
		finding := readErrorFinding(permission{verb: "list", resource: "pods", namespace: namespace}, err)
		finding.Check, finding.Step = PodInjected, StepPod
		report.Findings = append(report.Findings, finding)
	}
	report.ServiceAccounts = make([]Report, len(accounts))
	var once sync.Once
	var group errgroup.Group
	group.SetLimit(maxConcurrent)
	for i := range accounts {
		group.Go(func() error {
			x := newCheckState(ctx, d, accounts[i].Namespace, accounts[i].Name)
			x.account, x.pods = &accounts[i], pods[key(&accounts[i].ObjectMeta, accounts[i].Name)]
			maps.Copy(x.status, shared.status)
			report.ServiceAccounts[i] = x.diagnoseServiceAccount(ctx)
			report.ServiceAccounts[i].PodsUnreadable = podsUnread
			if x.dryRunPassed {
				once.Do(func() { shared.dryRunPassed = true })
			}
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
	report.Findings = append(report.Findings, runChecks(ctx, endpointChecks(), shared)...)
	slices.SortStableFunc(report.Findings, func(a, b Finding) int { return cmp.Compare(rank(a.Step), rank(b.Step)) })
	report.Status = Worst(report.Findings)
	for i := range report.ServiceAccounts {
		report.Status = worse(report.Status, report.ServiceAccounts[i].Status)
	}
	return report, nil
}

// evaluateMapping returns a finding and true if the ConfigMap of roles cannot be read or
// has invalid content.
func evaluateMapping(view mappingInfo, s settings) (Finding, bool) {
	switch {
	case view.err != nil && !apierrors.IsNotFound(view.err):
		return readErrorFinding(permission{"get", "configmaps", s.namespace, usualName}, view.err), true
	case view.undecodable != nil:
		return newFinding(Broken, "%s cannot be decoded: %v", view.at, view.undecodable).
			withReason("replicas of the webhook keep the last mapping that they decoded; a replica without one uses no role of the ConfigMap"), true
	case len(view.skipped) > 0:
		return newFinding(Warning, "%s has invalid entries, which the webhook skips", view.at).withReason("%s", view.skipped), true
	}
	return Finding{}, false
}

// diagnoseServiceAccount runs the checks whose results differ between ServiceAccounts.
func (x *checkState) diagnoseServiceAccount(ctx context.Context) Report {
	report := Report{Namespace: x.namespace, ServiceAccount: x.serviceAccount}
	report.add(runChecks(ctx, accountChecks(), x)...)
	report.add(runChecks(ctx, callChecks(), x)...)
	x.diagnoseAfterWebhook(ctx, &report)
	return report
}

func key(meta *metav1.ObjectMeta, serviceAccount string) string {
	return meta.Namespace + "/" + serviceAccount
}

// accounts returns the ServiceAccounts that have a role in an annotation or in the
// mapping, or that have a misspelled role annotation. It drops all others page by page,
// because most ServiceAccounts of a cluster have no role.
func (d *Doctor) accounts(ctx context.Context, namespace string, s settings) ([]corev1.ServiceAccount, error) {
	var mapping *identity.Mapping
	if s.configMap {
		mapping = d.mapping(ctx, s).mapping
	}
	var all []corev1.ServiceAccount
	err := eachPage(ctx, func(options metav1.ListOptions) (string, error) {
		page, err := d.Client.CoreV1().ServiceAccounts(namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			if usesIdentity(&page.Items[i], s, mapping) {
				all = append(all, page.Items[i])
			}
		}
		return page.Continue, nil
	})
	return all, err
}

func usesIdentity(account *corev1.ServiceAccount, s settings, mapping *identity.Mapping) bool {
	prefix := s.identity.AnnotationPrefix
	if identity.FromAnnotations(account.Annotations, s.identity).IsSet() {
		return true
	}
	if mapped := mapping.Identity(types.NamespacedName{Namespace: account.Namespace, Name: account.Name}); mapped != nil && mapped.IsSet() {
		return true
	}
	return slices.ContainsFunc(lint.Misspelled(account.Annotations, prefix), func(f lint.Finding) bool {
		return f.SuggestedKey == prefix+"/"+identity.RoleARNAnnotation
	})
}

// podsOf returns the pods of the given ServiceAccounts that have not terminated.
func (d *Doctor) podsOf(ctx context.Context, namespace string, accounts []corev1.ServiceAccount) (map[string][]corev1.Pod, error) {
	all := map[string][]corev1.Pod{}
	for i := range accounts {
		all[key(&accounts[i].ObjectMeta, accounts[i].Name)] = nil
	}
	err := eachPage(ctx, func(options metav1.ListOptions) (string, error) {
		page, err := d.Client.CoreV1().Pods(namespace).List(ctx, options)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			pod := &page.Items[i]
			at := key(&pod.ObjectMeta, pod.Spec.ServiceAccountName)
			if pods, wanted := all[at]; wanted && !isTerminated(pod) {
				all[at] = append(pods, *pod)
			}
		}
		return page.Continue, nil
	})
	return all, err
}
