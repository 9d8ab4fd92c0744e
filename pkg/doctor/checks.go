package doctor

// The checks, by their links. The codes are stable.
const (
	ServiceAccountExists Code = "service_account"
	RoleNamed            Code = "role_annotation"
	AnnotationsValid     Code = "annotations"
	RolePermitted        Code = "role_permitted"

	WebhookRegistered    Code = "webhook_registered"
	WebhookRules         Code = "webhook_rules"
	WebhookFailurePolicy Code = "webhook_failure_policy"
	WebhookEndpoints     Code = "webhook_endpoints"
	WebhookAnswers       Code = "webhook_reachable"
	WebhookCertificate   Code = "webhook_certificate"
	WebhookNamespace     Code = "webhook_namespace"
	WebhookPod           Code = "webhook_pod_selected"
	WebhookTrial         Code = "webhook_dry_run"

	PodInjected    Code = "pod_injected"
	PodToken       Code = "pod_token"
	PodEnvironment Code = "pod_environment"
	PodOverrides   Code = "pod_overrides"

	TokenMinted     Code = "token_request"
	IssuerDiscovery Code = "issuer_discovery"
	IssuerKeys      Code = "issuer_signing_key"
	TokenClaims     Code = "token_claims"

	AWSAccount       Code = "aws_account"
	OIDCProvider     Code = "oidc_provider"
	ProviderAudience Code = "provider_audience"
	RoleExists       Code = "role_exists"
	TrustPolicy      Code = "trust_policy"

	STSExchange Code = "sts_exchange"
)

// accountChecks are about the ServiceAccount itself.
func accountChecks() []check {
	return []check{
		{ServiceAccountExists, LinkServiceAccount, nil, checkServiceAccount},
		{RoleNamed, LinkServiceAccount, []Code{ServiceAccountExists}, checkRole},
		{AnnotationsValid, LinkServiceAccount, []Code{ServiceAccountExists}, checkAnnotations},
		{RolePermitted, LinkServiceAccount, []Code{RoleNamed}, checkRolePermitted},
	}
}

// webhookChecks are about what all ServiceAccounts have in common.
func webhookChecks() []check {
	return []check{
		{WebhookRegistered, LinkWebhook, nil, checkRegistered},
		{WebhookRules, LinkWebhook, []Code{WebhookRegistered}, checkRules},
		{WebhookFailurePolicy, LinkWebhook, []Code{WebhookRegistered}, checkFailurePolicy},
		{WebhookEndpoints, LinkWebhook, []Code{WebhookRegistered}, checkEndpoints},
	}
}

// endpointChecks are too. What cannot be seen from here, the trial may have shown.
func endpointChecks() []check {
	return []check{
		{WebhookAnswers, LinkWebhook, []Code{WebhookRegistered}, checkAnswers},
		{WebhookCertificate, LinkWebhook, []Code{WebhookRegistered}, checkCertificate},
	}
}

// callChecks are about whether the webhook is called for a ServiceAccount's pods.
func callChecks() []check {
	return []check{
		{WebhookNamespace, LinkWebhook, []Code{WebhookRegistered}, checkNamespace},
		// Who may not see the webhook may still make pods.
		{WebhookTrial, LinkWebhook, []Code{RoleNamed}, checkDryRun},
	}
}

// podChecks are about one pod.
func podChecks() []check {
	return []check{
		{WebhookPod, LinkPod, []Code{WebhookRegistered}, checkPodSelected},
		{PodInjected, LinkPod, []Code{RoleNamed}, checkInjected},
		{PodToken, LinkPod, []Code{PodInjected}, checkToken},
		{PodEnvironment, LinkPod, []Code{PodToken}, checkEnvironment},
		{PodOverrides, LinkPod, nil, checkOverrides},
	}
}

// awsChecks are about how AWS sees the ServiceAccount.
func awsChecks() []check {
	return []check{
		{TokenMinted, LinkIssuer, []Code{RoleNamed}, checkMinted},
		{IssuerDiscovery, LinkIssuer, []Code{RoleNamed}, checkDiscovery},
		{IssuerKeys, LinkIssuer, []Code{IssuerDiscovery}, checkKeys},
		{TokenClaims, LinkIssuer, []Code{IssuerKeys}, checkClaims},
		{AWSAccount, LinkIAM, []Code{RoleNamed}, checkAccount},
		{OIDCProvider, LinkIAM, []Code{AWSAccount}, checkProvider},
		{ProviderAudience, LinkIAM, []Code{OIDCProvider}, checkProviderAudience},
		{RoleExists, LinkIAM, []Code{AWSAccount}, checkRoleExists},
		{TrustPolicy, LinkIAM, []Code{RoleExists}, checkTrustPolicy},
		{STSExchange, LinkSTS, []Code{RoleNamed}, checkExchange},
	}
}
