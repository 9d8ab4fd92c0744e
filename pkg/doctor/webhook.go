package doctor

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// webhookInfo is the data about the webhook. It is read once.
type webhookInfo struct {
	entries []webhookEntry
	// unread is the finding if the webhook configurations cannot be read.
	unread *Finding
	// service, slices and pods belong to the first entry, if it uses a Service.
	service        *corev1.Service
	serviceErr     error
	slices         []discoveryv1.EndpointSlice
	slicesErr      error
	pods           []corev1.Pod
	podsErr        error
	settings       settings
	settingsSource string
	// guards are the namespaceSelectors of the guards that deny pods.
	guards []*metav1.LabelSelector
	// guarded is true if one of them selects the namespace of the view.
	guarded bool
}

// in returns the view of one namespace. If the configuration has several entries, the first
// one of the view is the one for the namespace. For example, the Helm chart has an extra entry
// for kube-system. Only the name of the namespace is considered; evaluateNamespaceSelector
// considers its labels.
func (v *webhookInfo) in(namespace string) *webhookInfo {
	excludes := func(selector *metav1.LabelSelector) bool {
		return slices.ContainsFunc(unmetRequirements(selector, map[string]string{corev1.LabelMetadataName: namespace}),
			func(r metav1.LabelSelectorRequirement) bool { return r.Key == corev1.LabelMetadataName })
	}
	view := *v
	view.guarded = slices.ContainsFunc(v.guards, func(selector *metav1.LabelSelector) bool { return !excludes(selector) })
	called := func(r webhookEntry) bool {
		return r.completes(&v.entries[0]) && !excludes(r.webhook.NamespaceSelector)
	}
	at := slices.IndexFunc(v.entries, func(r webhookEntry) bool { return called(r) && r.matchesPodCreate() })
	if at < 0 {
		// No entry has rules for pods, which evaluateRules reports.
		at = slices.IndexFunc(v.entries, called)
	}
	if at > 0 {
		view.entries = slices.Concat(v.entries[at:at+1], v.entries[:at], v.entries[at+1:])
	}
	return &view
}

// chosen returns the entry that is checked, or nil.
func (v *webhookInfo) chosen() *webhookEntry {
	if len(v.entries) == 0 {
		return nil
	}
	return &v.entries[0]
}

func (v *webhookInfo) reference() *admissionregistrationv1.ServiceReference {
	if r := v.chosen(); r != nil {
		return r.webhook.ClientConfig.Service
	}
	return nil
}

func (d *Doctor) webhook(ctx context.Context) *webhookInfo {
	return d.known.webhook.get(struct{}{}, func() *webhookInfo { return d.readWebhook(ctx) })
}

func (d *Doctor) readWebhook(ctx context.Context) *webhookInfo {
	v := &webhookInfo{}
	v.entries, v.unread = d.readWebhookConfigurations(ctx)
	if reference := v.reference(); reference != nil {
		d.readService(ctx, v, reference)
	}
	arguments := argumentsOf(v.pods)
	v.settings = readSettings(arguments).overridden(d.Options)
	v.settingsSource = "defaults of the webhook and flags of doctor"
	if len(v.pods) > 0 {
		v.settingsSource = "arguments of pod " + v.pods[0].Namespace + "/" + v.pods[0].Name
	}
	v.guards = d.readGuards(ctx)
	return v
}

// pageSize is the number of objects per list request.
const pageSize = 500

func (d *Doctor) readWebhookConfigurations(ctx context.Context) ([]webhookEntry, *Finding) {
	client := d.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if name := d.Options.WebhookName; name != "" {
		configuration, err := client.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			unread := readErrorFinding(permission{verb: "get", resource: "mutatingwebhookconfigurations.admissionregistration.k8s.io", name: name}, err)
			return nil, &unread
		}
		return findWebhooks([]admissionregistrationv1.MutatingWebhookConfiguration{*configuration}, name), nil
	}
	all, err := client.List(ctx, metav1.ListOptions{})
	if err != nil {
		unread := readErrorFinding(permission{verb: "list", resource: "mutatingwebhookconfigurations.admissionregistration.k8s.io"}, err)
		return nil, &unread
	}
	return findWebhooks(all.Items, ""), nil
}

func (d *Doctor) readService(ctx context.Context, v *webhookInfo, reference *admissionregistrationv1.ServiceReference) {
	namespace, name := reference.Namespace, reference.Name
	v.service, v.serviceErr = d.Client.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	if slices, err := d.Client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set{discoveryv1.LabelServiceName: name}.String(),
	}); err != nil {
		v.slicesErr = err
	} else {
		v.slices = slices.Items
	}
	if v.serviceErr != nil || len(v.service.Spec.Selector) == 0 {
		return
	}
	pods, err := d.Client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		LabelSelector: labels.Set(v.service.Spec.Selector).String(), Limit: pageSize,
	})
	if err != nil {
		v.podsErr = err
		return
	}
	v.pods = pods.Items
}

// readGuards returns the namespaceSelectors of the guards: ValidatingAdmissionPolicies that
// have ServiceAccounts as parameters and a binding that denies pods. If they cannot be
// read, it returns nil.
func (d *Doctor) readGuards(ctx context.Context) []*metav1.LabelSelector {
	policies, err := d.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	bindings, err := d.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil
	}
	var selectors []*metav1.LabelSelector
	for i := range policies.Items {
		policy := &policies.Items[i]
		kind := policy.Spec.ParamKind
		denies := slices.ContainsFunc(bindings.Items, func(b admissionregistrationv1.ValidatingAdmissionPolicyBinding) bool {
			return b.Spec.PolicyName == policy.Name && slices.Contains(b.Spec.ValidationActions, admissionregistrationv1.Deny)
		})
		if !denies || !strings.Contains(policy.Name, "guard") || kind == nil || kind.Kind != "ServiceAccount" {
			continue
		}
		var selector *metav1.LabelSelector
		if policy.Spec.MatchConstraints != nil {
			selector = policy.Spec.MatchConstraints.NamespaceSelector
		}
		selectors = append(selectors, selector)
	}
	return selectors
}

// evaluateEndpointSlices checks whether the Service has a ready endpoint.
func evaluateEndpointSlices(v *webhookInfo) Finding {
	reference := v.reference()
	if reference == nil {
		return newFinding(Skipped, "skipped: the webhook is called by URL, not through a Service")
	}
	namespace, name := reference.Namespace, reference.Name
	switch {
	case apierrors.IsNotFound(v.serviceErr):
		return newFinding(Broken, "Service %s/%s of the webhook does not exist", namespace, name).withFix("%s", installCommand)
	case v.slicesErr != nil:
		return readErrorFinding(permission{verb: "list", resource: "endpointslices.discovery.k8s.io", namespace: namespace}, v.slicesErr)
	}
	ready, notReady := countEndpoints(v.slices)
	if ready > 0 {
		return newFinding(OK, "Service %s/%s has %s", namespace, name, plural(ready, "ready endpoint")).withEvidence("not ready", countOf(notReady))
	}
	finding := newFinding(Broken, "Service %s/%s has no ready endpoint", namespace, name)
	switch {
	case v.serviceErr != nil || v.podsErr != nil:
		return finding.withReason("%s; check the pods of the webhook", plural(notReady, "unready endpoint")).
			withFix(kubectl+" get pods -n %s", namespace)
	case len(v.service.Spec.Selector) == 0:
		return finding.withReason("the Service has no selector, so its EndpointSlices must be created manually or by a controller")
	case len(v.pods) == 0:
		selector := labels.Set(v.service.Spec.Selector).String()
		return finding.withReason("no pod matches the selector of the Service: %s", selector).
			withFix(kubectl+" scale deployment -n %s -l %s --replicas=2", namespace, selector)
	default:
		return finding.withReason("%s", notReadyReasons(v.pods)).withFix("%s", recreateCommand(&v.pods[0]))
	}
}

func countEndpoints(all []discoveryv1.EndpointSlice) (ready, notReady int) {
	for i := range all {
		for _, endpoint := range all[i].Endpoints {
			// A nil value means ready (k8s.io/api/discovery/v1).
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				ready += len(endpoint.Addresses)
			} else {
				notReady += len(endpoint.Addresses)
			}
		}
	}
	return ready, notReady
}

func countOf(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// notReadyReasons returns why the pods are not ready.
func notReadyReasons(pods []corev1.Pod) string {
	var all []string
	for i := range pods {
		pod := &pods[i]
		why := string(pod.Status.Phase)
		for _, status := range pod.Status.ContainerStatuses {
			if waiting := status.State.Waiting; waiting != nil && waiting.Reason != "" {
				why = waiting.Reason
			}
		}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
				why = condition.Reason
			}
		}
		all = append(all, fmt.Sprintf("pod %s: %s", pod.Name, why))
	}
	return strings.Join(all, ", ")
}

// addressOf returns the host and the port of a webhook URL. It returns an error if the URL
// is invalid or has no host.
func addressOf(raw string) (host, port string, err error) {
	parsed, err := url.Parse(raw)
	if err != nil || parsed.Hostname() == "" {
		return "", "", fmt.Errorf("invalid webhook URL %q", raw)
	}
	if port = parsed.Port(); port == "" {
		port = "443"
	}
	return parsed.Hostname(), port, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
