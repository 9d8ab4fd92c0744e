package doctor

import "context"

func checkRegistered(_ context.Context, x *examination) Finding {
	if x.webhook.unread != nil {
		return *x.webhook.unread
	}
	return judgeRegistered(x.webhook.registrations, x.Options.WebhookName).given("settings", x.webhook.settingsSource)
}

func checkRules(_ context.Context, x *examination) Finding { return judgeRules(x.webhook.chosen()) }

func checkFailurePolicy(_ context.Context, x *examination) Finding {
	return judgeFailurePolicy(x.webhook.chosen(), x.webhook.guarded)
}

func checkEndpoints(_ context.Context, x *examination) Finding { return judgeEndpoints(x.webhook) }

func checkAnswers(ctx context.Context, x *examination) Finding {
	finding := judgeAnswers(x.endpoint(ctx))
	return x.orTried(finding, "the API server has reached it: see %s")
}

func checkCertificate(ctx context.Context, x *examination) Finding {
	r := x.webhook.chosen()
	finding := judgeCertificate(r, r.webhook.ClientConfig.CABundle, x.endpoint(ctx), x.now())
	return x.orTried(finding, "the API server trusts what is served: see %s")
}

// orTried takes the API server's word where nothing can be seen from here.
func (x *examination) orTried(finding Finding, instead string) Finding {
	if finding.Status == Unknown && x.tried {
		return found(OK, instead, WebhookTrial)
	}
	return finding
}

func checkNamespace(ctx context.Context, x *examination) Finding {
	namespace, err := x.namespaceNamed(ctx, x.namespace)
	if err != nil {
		return unreadable(right{verb: "get", resource: "namespaces", name: x.namespace}, err)
	}
	return judgeNamespace(x.webhook.chosen(), namespace)
}

func checkPodSelected(_ context.Context, x *examination) Finding {
	return judgePodSelected(x.webhook.chosen(), x.pod)
}
