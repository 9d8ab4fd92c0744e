package doctor

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// The names of pod identity webhooks in webhook configurations. usualName is that of this
// webhook and of amazon-eks-pod-identity-webhook. eksName is that of the webhook that EKS
// manages.
const (
	usualName = "pod-identity-webhook"
	eksName   = "iam-for-pods.amazonaws.com"
	// mutatePath is the path of both webhooks.
	mutatePath = "/mutate"
)

// webhookEntry is one webhook of a MutatingWebhookConfiguration.
type webhookEntry struct {
	configuration *admissionregistrationv1.MutatingWebhookConfiguration
	// index is the index of the webhook in its configuration.
	index   int
	webhook *admissionregistrationv1.MutatingWebhook
}

func (r *webhookEntry) name() string { return r.configuration.Name }

// findWebhooks returns the pod identity webhooks: those of the configuration with the name
// or, without a name, those with the usual path and names. Webhooks that are called for
// new pods come first.
func findWebhooks(configurations []admissionregistrationv1.MutatingWebhookConfiguration, name string) []webhookEntry {
	var all []webhookEntry
	for i := range configurations {
		configuration := &configurations[i]
		if name != "" && configuration.Name != name {
			continue
		}
		for j := range configuration.Webhooks {
			candidate := webhookEntry{configuration: configuration, index: j, webhook: &configuration.Webhooks[j]}
			if name != "" || candidate.givesIdentity() {
				all = append(all, candidate)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b webhookEntry) int {
		rank := func(r webhookEntry) int {
			if r.matchesPodCreate() {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return all
}

// givesIdentity reports whether a webhook has the path and a name of a pod identity webhook.
func (r *webhookEntry) givesIdentity() bool {
	client := r.webhook.ClientConfig
	path, service := "", ""
	if client.Service != nil {
		service = client.Service.Name
		if client.Service.Path != nil {
			path = *client.Service.Path
		}
	}
	if client.URL != nil {
		if parsed, err := url.Parse(*client.URL); err == nil {
			path = parsed.Path
		}
	}
	if strings.TrimSuffix(path, "/") != mutatePath {
		return false
	}
	names := []string{r.name(), r.webhook.Name, service, r.configuration.Labels["app.kubernetes.io/name"]}
	return r.webhook.Name == eksName || slices.ContainsFunc(names, func(n string) bool { return strings.Contains(n, usualName) })
}

// matchesPodCreate reports whether the rules match the creation of pods.
func (r *webhookEntry) matchesPodCreate() bool {
	return slices.ContainsFunc(r.webhook.Rules, func(rule admissionregistrationv1.RuleWithOperations) bool {
		operation := slices.ContainsFunc(rule.Operations, func(o admissionregistrationv1.OperationType) bool {
			return o == admissionregistrationv1.Create || o == admissionregistrationv1.OperationAll
		})
		any := func(values []string, wanted ...string) bool {
			return slices.ContainsFunc(values, func(v string) bool { return slices.Contains(wanted, v) })
		}
		namespaced := rule.Scope == nil || *rule.Scope != admissionregistrationv1.ClusterScope
		return operation && namespaced && any(rule.APIGroups, "", "*") && any(rule.APIVersions, "v1", "*") &&
			any(rule.Resources, "pods", "*", "*/*")
	})
}

func (r *webhookEntry) ignoresFailures() bool {
	return r.webhook.FailurePolicy != nil && *r.webhook.FailurePolicy == admissionregistrationv1.Ignore
}

// called returns the Service or the URL of the webhook as text.
func (r *webhookEntry) called() string {
	client := r.webhook.ClientConfig
	if client.Service != nil {
		port := int32(443)
		if client.Service.Port != nil {
			port = *client.Service.Port
		}
		return fmt.Sprintf("Service %s/%s, port %d", client.Service.Namespace, client.Service.Name, port)
	}
	if client.URL != nil {
		return *client.URL
	}
	return ""
}

// completes reports whether r and first are entries of one configuration that call the
// same webhook, for different namespaces.
func (r *webhookEntry) completes(first *webhookEntry) bool {
	return r.name() == first.name() && r.called() == first.called()
}

const installCommand = helm + " upgrade --install pod-identity-webhook deploy/helm/pod-identity-webhook --namespace pod-identity-webhook --create-namespace"

// evaluateRegistered checks whether a configuration has a pod identity webhook.
func evaluateRegistered(entries []webhookEntry, name string) Finding {
	if len(entries) == 0 {
		missing := newFinding(Broken, "no MutatingWebhookConfiguration has a pod identity webhook").
			withReason("none has a webhook with path %s and %s in a name; if yours has another name, pass --webhook-name", mutatePath, usualName)
		if name != "" {
			missing = newFinding(Broken, "MutatingWebhookConfiguration %q does not exist or has no webhook", name)
		}
		return missing.withFix(installCommand)
	}
	first := &entries[0]
	var others []string
	for i := range entries[1:] {
		other := &entries[i+1]
		if other.matchesPodCreate() && !other.completes(first) {
			others = append(others, fmt.Sprintf("%s (%s)", other.name(), other.called()))
		}
	}
	if len(others) > 0 {
		return newFinding(Warning, "%d pod identity webhooks are called for new pods", len(others)+1).
			withReason("doctor checks MutatingWebhookConfiguration %s; %s is called too, and the first one to get a pod decides; pass --webhook-name to check another", first.name(), strings.Join(others, ", ")).
			withEvidence("called at", first.called())
	}
	return newFinding(OK, "MutatingWebhookConfiguration %s has webhook %s", first.name(), first.webhook.Name).withEvidence("called at", first.called())
}

// podRule is the rule that matches the creation of pods.
const podRule = `{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"],"scope":"Namespaced"}`

func evaluateRules(r *webhookEntry) Finding {
	if r.matchesPodCreate() {
		return newFinding(OK, "MutatingWebhookConfiguration %s matches the creation of pods", r.name())
	}
	path, value := fmt.Sprintf("/webhooks/%d/rules", r.index), "["+podRule+"]"
	if len(r.webhook.Rules) > 0 {
		path, value = path+"/-", podRule
	}
	return newFinding(Broken, "MutatingWebhookConfiguration %s does not match the creation of pods", r.name()).
		withReason("add a rule for CREATE of pods of the API group \"\", v1").
		withFix(kubectl+` patch mutatingwebhookconfiguration %s --type=json -p='[{"op":"add","path":"%s","value":%s}]'`, r.name(), path, value)
}

func evaluateFailurePolicy(r *webhookEntry, guarded bool) Finding {
	switch {
	case !r.ignoresFailures():
		return newFinding(OK, "failurePolicy is Fail: the API server rejects matching pods while the webhook is down")
	case guarded:
		return newFinding(OK, "failurePolicy is Ignore: the guard denies pods without identity while the webhook is down")
	default:
		return newFinding(OK, "failurePolicy is Ignore: pods created while the webhook is down stay without identity")
	}
}
