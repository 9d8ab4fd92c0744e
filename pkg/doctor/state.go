package doctor

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// checkState is the data about one ServiceAccount and one of its pods. Checks add to it.
type checkState struct {
	*Doctor
	namespace, serviceAccount string
	// object is the pod of the current checks as pod/NAME, or empty.
	object string
	status map[Code]Status

	webhook  *webhookInfo
	settings settings

	account *corev1.ServiceAccount
	// identity is not nil once checkRole has run; IsSet reports whether it has a role.
	identity *identity.Identity
	// typos are annotations that are probably misspelled annotations of the webhook.
	typos []lint.Finding

	// pods are the pods to check, and pod is the current one.
	pods []corev1.Pod
	pod  *corev1.Pod

	// raw is a token. It is never printed.
	raw       string
	claims    token.Claims
	published issuer.Issuer
	// verification is the fault of the token other than its key, or nil.
	verification *issuer.VerificationError

	providerARN string
	role        role
	// dryRunPassed is true if the webhook injected the pod of the dry run.
	dryRunPassed bool
}

// sharedState caches the reads that all checkStates of a Doctor share.
type sharedState struct {
	webhook    onceCache[struct{}, *webhookInfo]
	endpoint   onceCache[struct{}, *endpointInfo]
	mapping    onceCache[struct{}, mappingInfo]
	namespaces onceCache[string, readResult[*corev1.Namespace]]
	caller     onceCache[struct{}, readResult[account]]
	discovered onceCache[string, readResult[issuer.Issuer]]
	providers  onceCache[string, readResult[*provider]]
}

// readResult is the result of a read: a value or an error.
type readResult[V any] struct {
	value V
	err   error
}

func newCheckState(ctx context.Context, d *Doctor, namespace, serviceAccount string) *checkState {
	v := d.webhook(ctx).in(namespace)
	return &checkState{
		Doctor: d, namespace: namespace, serviceAccount: serviceAccount, status: map[Code]Status{},
		webhook: v, settings: v.settings,
	}
}

// callTimeout is the timeout of one call to the API server.
const callTimeout = 20 * time.Second
