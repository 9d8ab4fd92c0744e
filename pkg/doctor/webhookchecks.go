package doctor

import "context"

func checkRegistered(_ context.Context, x *checkState) Finding {
	if x.webhook.unread != nil {
		return *x.webhook.unread
	}
	return evaluateRegistered(x.webhook.entries, x.Options.WebhookName).withEvidence("settings", x.webhook.settingsSource)
}

func checkRules(_ context.Context, x *checkState) Finding { return evaluateRules(x.webhook.chosen()) }

func checkFailurePolicy(_ context.Context, x *checkState) Finding {
	return evaluateFailurePolicy(x.webhook.chosen(), x.webhook.guarded)
}

func checkEndpoints(_ context.Context, x *checkState) Finding {
	return evaluateEndpointSlices(x.webhook)
}

func checkReachable(ctx context.Context, x *checkState) Finding {
	finding := evaluateEndpoint(x.endpoint(ctx))
	return x.orDryRunResult(finding, "the API server reached the webhook: see check %s")
}

func checkCertificate(ctx context.Context, x *checkState) Finding {
	r := x.webhook.chosen()
	finding := evaluateCertificate(r, r.webhook.ClientConfig.CABundle, x.endpoint(ctx), x.now())
	return x.orDryRunResult(finding, "the API server trusts the webhook's certificate: see check %s")
}

// orDryRunResult replaces an Unknown finding by an OK finding if the dry run passed: then
// the API server itself called the webhook.
func (x *checkState) orDryRunResult(finding Finding, instead string) Finding {
	if finding.Status == Unknown && x.dryRunPassed {
		return newFinding(OK, instead, WebhookDryRun)
	}
	return finding
}

func checkNamespace(ctx context.Context, x *checkState) Finding {
	namespace, err := x.namespaceNamed(ctx, x.namespace)
	if err != nil {
		return readErrorFinding(permission{verb: "get", resource: "namespaces", name: x.namespace}, err)
	}
	return evaluateNamespaceSelector(x.webhook.chosen(), namespace)
}

func checkPodSelected(_ context.Context, x *checkState) Finding {
	return evaluatePodSelected(x.webhook.chosen(), x.pod)
}
