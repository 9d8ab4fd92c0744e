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

// checkState is what is known of one ServiceAccount, and of one of its pods. Each
// check may add to it.
type checkState struct {
	*Doctor
	namespace, serviceAccount string
	// object is the pod that findings are about, as pod/NAME, or empty.
	object string
	status map[Code]Status

	webhook  *webhookInfo
	settings settings

	account *corev1.ServiceAccount
	// identity is never nil once the account was read; role is whether it is known.
	identity *identity.Identity
	// typos are annotations that were probably meant as ours.
	typos []lint.Finding

	// pods are those to look at, pod the one that is looked at.
	pods []corev1.Pod
	pod  *corev1.Pod

	// raw is a token, and never shown.
	raw       string
	claims    token.Claims
	published issuer.Issuer
	// verification is what is wrong with the token beside its key.
	verification *issuer.VerificationError

	providerARN string
	role        role
	// dryRunPassed says that the API server itself has shown the webhook to work.
	dryRunPassed bool
}

// sharedState is what examinations have in common.
type sharedState struct {
	webhook    onceCache[struct{}, *webhookInfo]
	endpoint   onceCache[struct{}, *endpointInfo]
	mapping    onceCache[struct{}, mappingInfo]
	namespaces onceCache[string, readResult[*corev1.Namespace]]
	caller     onceCache[struct{}, readResult[account]]
	discovered onceCache[string, readResult[issuer.Issuer]]
	providers  onceCache[string, readResult[*provider]]
}

// readResult is what was read, or why it was not.
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

// callTimeout bounds one call to the outside.
const callTimeout = 20 * time.Second
