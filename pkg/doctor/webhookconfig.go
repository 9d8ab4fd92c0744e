package doctor

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
)

// The names by which registrations of a pod identity webhook are known: the
// reference's, which is ours, and that of the webhook that EKS manages.
const (
	usualName = "pod-identity-webhook"
	eksName   = "iam-for-pods.amazonaws.com"
	// mutatePath is where the reference and ours are called.
	mutatePath = "/mutate"
)

// registration is one webhook of a MutatingWebhookConfiguration.
type registration struct {
	configuration *admissionregistrationv1.MutatingWebhookConfiguration
	// index is that of the webhook in its configuration.
	index   int
	webhook *admissionregistrationv1.MutatingWebhook
}

func (r *registration) name() string { return r.configuration.Name }

// findRegistrations returns the webhooks that give pods their identity: those of
// the configuration of a name or, without one, those that look like it. Those that
// are called for new pods come first.
func findRegistrations(configurations []admissionregistrationv1.MutatingWebhookConfiguration, name string) []registration {
	var all []registration
	for i := range configurations {
		configuration := &configurations[i]
		if name != "" && configuration.Name != name {
			continue
		}
		for j := range configuration.Webhooks {
			candidate := registration{configuration: configuration, index: j, webhook: &configuration.Webhooks[j]}
			if name != "" || candidate.givesIdentity() {
				all = append(all, candidate)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b registration) int {
		rank := func(r registration) int {
			if r.matchesPodCreate() {
				return 0
			}
			return 1
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return all
}

// givesIdentity says whether a webhook has the path and a name of one.
func (r *registration) givesIdentity() bool {
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

// matchesPodCreate says whether the rules have it called when a pod is created.
func (r *registration) matchesPodCreate() bool {
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

func (r *registration) ignoresFailures() bool {
	return r.webhook.FailurePolicy != nil && *r.webhook.FailurePolicy == admissionregistrationv1.Ignore
}

// called says how it is called, for people.
func (r *registration) called() string {
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

// completes reports whether r and first are entries of one configuration that call one
// webhook, each for other namespaces.
func (r *registration) completes(first *registration) bool {
	return r.name() == first.name() && r.called() == first.called()
}

const installCommand = helm + " upgrade --install pod-identity-webhook deploy/helm/pod-identity-webhook --namespace pod-identity-webhook --create-namespace"

// evaluateRegistered says whether there is a webhook at all.
func evaluateRegistered(registrations []registration, name string) Finding {
	if len(registrations) == 0 {
		missing := newFinding(Broken, "no webhook is registered that gives pods their identity").
			withReason("no MutatingWebhookConfiguration has a webhook with the path %s and %s in a name of it; if yours has another, say --webhook-name", mutatePath, usualName)
		if name != "" {
			missing = newFinding(Broken, "there is no MutatingWebhookConfiguration %q with a webhook", name)
		}
		return missing.withFix(installCommand)
	}
	first := &registrations[0]
	var others []string
	for i := range registrations[1:] {
		other := &registrations[i+1]
		if other.matchesPodCreate() && !other.completes(first) {
			others = append(others, fmt.Sprintf("%s (%s)", other.name(), other.called()))
		}
	}
	if len(others) > 0 {
		return newFinding(Warning, "%d webhooks give pods their identity", len(others)+1).
			withReason("MutatingWebhookConfiguration %s is looked at here; %s is called too, and the first that sees a pod decides. Another is chosen by --webhook-name", first.name(), strings.Join(others, ", ")).
			withEvidence("called at", first.called())
	}
	return newFinding(OK, "MutatingWebhookConfiguration %s, webhook %s", first.name(), first.webhook.Name).withEvidence("called at", first.called())
}

// podRule is the rule that it takes to be called for new pods.
const podRule = `{"apiGroups":[""],"apiVersions":["v1"],"operations":["CREATE"],"resources":["pods"],"scope":"Namespaced"}`

func evaluateRules(r *registration) Finding {
	if r.matchesPodCreate() {
		return newFinding(OK, "it is called when a pod is created")
	}
	path, value := fmt.Sprintf("/webhooks/%d/rules", r.index), "["+podRule+"]"
	if len(r.webhook.Rules) > 0 {
		path, value = path+"/-", podRule
	}
	return newFinding(Broken, "it is not called when a pod is created").
		withReason("none of its rules is for CREATE of pods of the API group \"\", v1").
		withFix(kubectl+` patch mutatingwebhookconfiguration %s --type=json -p='[{"op":"add","path":"%s","value":%s}]'`, r.name(), path, value)
}

func evaluateFailurePolicy(r *registration, guarded bool) Finding {
	switch {
	case !r.ignoresFailures():
		return newFinding(OK, "failurePolicy Fail: while the webhook is down, the pods that it is called for are not created")
	case guarded:
		return newFinding(OK, "failurePolicy Ignore: while the webhook is down, the guard refuses pods that miss their identity")
	default:
		return newFinding(OK, "failurePolicy Ignore: while the webhook is down, pods are created without identity, and keep so")
	}
}
