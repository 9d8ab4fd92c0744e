package doctor

// The codes of the checks, grouped by step.
const (
	ServiceAccountExists Code = "service_account"
	RoleNamed            Code = "role_annotation"
	AnnotationsValid     Code = "annotations"
	RolePermitted        Code = "role_permitted"

	WebhookRegistered    Code = "webhook_registered"
	WebhookRules         Code = "webhook_rules"
	WebhookFailurePolicy Code = "webhook_failure_policy"
	WebhookEndpoints     Code = "webhook_endpoints"
	WebhookReachable     Code = "webhook_reachable"
	WebhookCertificate   Code = "webhook_certificate"
	WebhookNamespace     Code = "webhook_namespace"
	WebhookPod           Code = "webhook_pod_selected"
	WebhookDryRun        Code = "webhook_dry_run"

	PodInjected    Code = "pod_injected"
	PodToken       Code = "pod_token"
	PodEnvironment Code = "pod_environment"
	PodOverrides   Code = "pod_overrides"

	TokenRequested  Code = "token_request"
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

// accountChecks returns the checks of the ServiceAccount itself.
func accountChecks() []check {
	return []check{
		{ServiceAccountExists, StepServiceAccount, nil, checkServiceAccount},
		{RoleNamed, StepServiceAccount, []Code{ServiceAccountExists}, checkRole},
		{AnnotationsValid, StepServiceAccount, []Code{ServiceAccountExists}, checkAnnotations},
		{RolePermitted, StepServiceAccount, []Code{RoleNamed}, checkRolePermitted},
	}
}

// webhookChecks returns the checks that have the same result for all ServiceAccounts.
func webhookChecks() []check {
	return []check{
		{WebhookRegistered, StepWebhook, nil, checkRegistered},
		{WebhookRules, StepWebhook, []Code{WebhookRegistered}, checkRules},
		{WebhookFailurePolicy, StepWebhook, []Code{WebhookRegistered}, checkFailurePolicy},
		{WebhookEndpoints, StepWebhook, []Code{WebhookRegistered}, checkEndpoints},
	}
}

// endpointChecks returns the checks of the webhook's endpoint, which are also the same for
// all ServiceAccounts. They run after callChecks: if the endpoint is not reachable from
// here, they use the result of the dry run.
func endpointChecks() []check {
	return []check{
		{WebhookReachable, StepWebhook, []Code{WebhookRegistered}, checkReachable},
		{WebhookCertificate, StepWebhook, []Code{WebhookRegistered}, checkCertificate},
	}
}

// callChecks returns the checks whether the API server calls the webhook for pods of a
// ServiceAccount.
func callChecks() []check {
	return []check{
		{WebhookNamespace, StepWebhook, []Code{WebhookRegistered}, checkNamespace},
		// Does not need WebhookRegistered: a user may be allowed to create pods but not to
		// read webhook configurations.
		{WebhookDryRun, StepWebhook, []Code{RoleNamed}, checkDryRun},
	}
}

// podChecks returns the checks of one pod.
func podChecks() []check {
	return []check{
		{WebhookPod, StepPod, []Code{WebhookRegistered}, checkPodSelected},
		{PodInjected, StepPod, []Code{RoleNamed}, checkInjected},
		{PodToken, StepPod, []Code{PodInjected}, checkToken},
		{PodEnvironment, StepPod, []Code{PodToken}, checkEnvironment},
		{PodOverrides, StepPod, nil, checkOverrides},
	}
}

// awsChecks returns the checks of the token, the issuer, IAM and STS.
func awsChecks() []check {
	return []check{
		{TokenRequested, StepIssuer, []Code{RoleNamed}, checkTokenRequest},
		{IssuerDiscovery, StepIssuer, []Code{RoleNamed}, checkDiscovery},
		{IssuerKeys, StepIssuer, []Code{IssuerDiscovery}, checkKeys},
		{TokenClaims, StepIssuer, []Code{IssuerKeys}, checkClaims},
		{AWSAccount, StepIAM, []Code{RoleNamed}, checkAccount},
		{OIDCProvider, StepIAM, []Code{AWSAccount}, checkProvider},
		{ProviderAudience, StepIAM, []Code{OIDCProvider}, checkProviderAudience},
		{RoleExists, StepIAM, []Code{AWSAccount}, checkRoleExists},
		{TrustPolicy, StepIAM, []Code{RoleExists}, checkTrustPolicy},
		{STSExchange, StepSTS, []Code{RoleNamed}, checkExchange},
	}
}
