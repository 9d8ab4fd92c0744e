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

// atOnce is how many ServiceAccounts are looked at at the same time.
const atOnce = 8

// Cluster diagnoses each ServiceAccount that has an identity, or was meant to: of a
// namespace, or of all if that is empty.
func (d *Doctor) Cluster(ctx context.Context, namespace string) (ClusterReport, error) {
	report := ClusterReport{ServiceAccounts: []Report{}}
	whole := newExamination(ctx, d, namespace, "")
	report.Findings = walk(ctx, webhookChecks(), whole)
	accounts, err := d.accounts(ctx, namespace, whole.settings)
	if err != nil {
		finding := unreadable(right{verb: "list", resource: "serviceaccounts", namespace: namespace}, err)
		finding.Check, finding.Link = ServiceAccountExists, LinkServiceAccount
		report.Findings = append(report.Findings, finding)
	}
	if whole.settings.configMap {
		if finding, ok := judgeMapping(d.mapping(ctx, whole.settings), whole.settings); ok {
			finding.Check, finding.Link = RoleNamed, LinkServiceAccount
			report.Findings = append(report.Findings, finding)
		}
	}
	pods, err := d.podsOf(ctx, namespace, accounts)
	podsUnread := err != nil
	if podsUnread {
		finding := unreadable(right{verb: "list", resource: "pods", namespace: namespace}, err)
		finding.Check, finding.Link = PodInjected, LinkPod
		report.Findings = append(report.Findings, finding)
	}
	report.ServiceAccounts = make([]Report, len(accounts))
	var tried sync.Once
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i := range accounts {
		group.Go(func() error {
			x := newExamination(ctx, d, accounts[i].Namespace, accounts[i].Name)
			x.account, x.pods = &accounts[i], pods[key(&accounts[i].ObjectMeta, accounts[i].Name)]
			maps.Copy(x.status, whole.status)
			report.ServiceAccounts[i] = x.examineOne(ctx)
			report.ServiceAccounts[i].PodsUnseen = podsUnread
			if x.tried {
				tried.Do(func() { whole.tried = true })
			}
			return nil
		})
	}
	_ = group.Wait() // none of them returns an error
	report.Findings = append(report.Findings, walk(ctx, endpointChecks(), whole)...)
	slices.SortStableFunc(report.Findings, func(a, b Finding) int { return cmp.Compare(rank(a.Link), rank(b.Link)) })
	report.Status = Worst(report.Findings)
	for i := range report.ServiceAccounts {
		report.Status = worse(report.Status, report.ServiceAccounts[i].Status)
	}
	return report, nil
}

// judgeMapping returns a finding if not all of the ConfigMap of roles is known or in
// use.
func judgeMapping(view mappingView, s settings) (Finding, bool) {
	switch {
	case view.err != nil && !apierrors.IsNotFound(view.err):
		return unreadable(right{"get", "configmaps", s.namespace, usualName}, view.err), true
	case view.undecodable != nil:
		return found(Broken, "%s cannot be decoded: %v", view.at, view.undecodable).
			because("replicas of the webhook keep the last mapping that they decoded, and a replica that has decoded none gives no roles of it"), true
	case len(view.skipped) > 0:
		return found(Warning, "%s has invalid entries, which the webhook skips", view.at).because("%s", view.skipped), true
	}
	return Finding{}, false
}

// examineOne makes the checks that are not the same for all.
func (x *examination) examineOne(ctx context.Context) Report {
	report := Report{Namespace: x.namespace, ServiceAccount: x.serviceAccount}
	report.add(walk(ctx, accountChecks(), x)...)
	report.add(walk(ctx, callChecks(), x)...)
	x.examineRest(ctx, &report)
	return report
}

func key(meta *metav1.ObjectMeta, serviceAccount string) string {
	return meta.Namespace + "/" + serviceAccount
}

// accounts returns the ServiceAccounts that name a role, are named one by the
// mapping, or were probably meant to. Most of a cluster's are none of these.
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
			if concerned(&page.Items[i], s, mapping) {
				all = append(all, page.Items[i])
			}
		}
		return page.Continue, nil
	})
	return all, err
}

func concerned(account *corev1.ServiceAccount, s settings, mapping *identity.Mapping) bool {
	prefix := s.identity.AnnotationPrefix
	if identity.FromAnnotations(account.Annotations, s.identity).Granted() {
		return true
	}
	if mapped := mapping.Identity(types.NamespacedName{Namespace: account.Namespace, Name: account.Name}); mapped != nil && mapped.Granted() {
		return true
	}
	return slices.ContainsFunc(lint.Misspelt(account.Annotations, prefix), func(f lint.Finding) bool {
		return f.Meant == prefix+"/"+identity.RoleARNAnnotation
	})
}

// podsOf returns the pods of ServiceAccounts that have not ended.
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
			if known, wanted := all[at]; wanted && !ended(pod) {
				all[at] = append(known, *pod)
			}
		}
		return page.Continue, nil
	})
	return all, err
}
