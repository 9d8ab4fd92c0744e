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

// examination is what is known of one ServiceAccount, and of one of its pods. Each
// check may add to it.
type examination struct {
	*Doctor
	namespace, serviceAccount string
	// object is the pod that findings are about, as pod/NAME, or empty.
	object string
	status map[Code]Status

	webhook  *webhookView
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
	// tried says that the API server itself has shown the webhook to work.
	tried bool
}

// knowledge is what examinations have in common.
type knowledge struct {
	webhook    memo[struct{}, *webhookView]
	endpoint   memo[struct{}, *endpointView]
	mapping    memo[struct{}, mappingView]
	namespaces memo[string, read[*corev1.Namespace]]
	caller     memo[struct{}, read[account]]
	discovered memo[string, read[issuer.Issuer]]
	providers  memo[string, read[*provider]]
}

// read is what was read, or why it was not.
type read[V any] struct {
	value V
	err   error
}

func newExamination(ctx context.Context, d *Doctor, namespace, serviceAccount string) *examination {
	v := d.webhook(ctx).in(namespace)
	return &examination{
		Doctor: d, namespace: namespace, serviceAccount: serviceAccount, status: map[Code]Status{},
		webhook: v, settings: v.settings,
	}
}

// callTimeout bounds one call to the outside.
const callTimeout = 20 * time.Second
