// Package explain shows what the webhook would do to the pods of manifests. It runs the
// webhook's own code on them. It can read missing objects from a cluster, and never writes
// to it.
package explain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/containercredentials"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/sources"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// Config is the configuration of an Explainer.
type Config struct {
	Settings  settings.Settings
	Manifests *Manifests
	// Cluster reads objects that are in no file. If nil, they are missing.
	Cluster Cluster
	// MappingNamespace is the namespace of the ConfigMap of roles in the cluster. If empty,
	// that ConfigMap is not read.
	MappingNamespace string
}

// Explainer computes what the webhook would do to pods.
type Explainer struct {
	mutator  *webhook.Mutator
	accounts accounts
	settings settings.Settings
	// Skipped has a sentence for each source with invalid entries, which the webhook
	// skips.
	Skipped []string
}

// New returns an Explainer. It returns an error if the ConfigMap of roles or the list for EKS
// Pod Identity cannot be read or decoded.
func New(ctx context.Context, config Config) (*Explainer, error) {
	defaults := config.Settings.Defaults(config.Settings.Account())
	logger, registry := slog.New(slog.DiscardHandler), prometheus.NewRegistry()
	e := &Explainer{
		accounts: accounts{manifests: config.Manifests, cluster: config.Cluster, defaults: defaults},
		settings: config.Settings,
	}
	resolver := &sources.Resolver{Accounts: e.accounts, ContainerCredentialsAudience: config.Settings.ContainerCredentialsAudience}
	mapped, skipped, err := readMapping(ctx, config.Manifests, config.Cluster, config.MappingNamespace, defaults)
	if err != nil {
		return nil, err
	}
	if mapped != nil {
		resolver.Mapping = mapped
	}
	e.skip("ConfigMap "+ConfigMapName, skipped)
	if file := config.Settings.ContainerCredentialsConfig; file != "" {
		listed, skipped, err := containercredentials.Read(file)
		if err != nil {
			return nil, fmt.Errorf("read list of ServiceAccounts for EKS Pod Identity in %s: %w", file, err)
		}
		resolver.ContainerCredentials = listed
		e.skip(file, skipped)
	}
	mutate := webhook.MutateConfig{Resolver: resolver, Settings: config.Settings.Inject(), Logger: logger, Metrics: registry}
	if mode := rolepolicy.Mode(config.Settings.RolePolicy); mode != rolepolicy.Off {
		mutate.Policy = policies{manifests: config.Manifests, cluster: config.Cluster, mode: mode, prefix: config.Settings.AnnotationPrefix}
	}
	e.mutator = webhook.NewMutator(mutate)
	return e, nil
}

func (e *Explainer) skip(source string, skipped identity.EntryErrors) {
	if len(skipped) > 0 {
		e.Skipped = append(e.Skipped, fmt.Sprintf("%s: skipped %d invalid entries: %s", source, len(skipped), skipped))
	}
}

// Explanation is what the webhook would do to a pod.
type Explanation struct {
	Pod            Pod
	ServiceAccount types.NamespacedName
	// Identity is nil if the pod is skipped or the identity is unknown.
	Identity *identity.Identity
	Result   inject.Result
	// Denied is set if the webhook would deny the pod, MissingInput if an object that the
	// decision needs is missing.
	Denied, MissingInput error
	// Findings are probable mistakes in the annotations of the ServiceAccount.
	Findings []lint.Finding
	// Patched is the injected pod as JSON, without the fields that the API server adds. It
	// is nil if Denied or MissingInput is set.
	Patched []byte
}

// Explain returns what the webhook would do if the pod were created now. It returns an error
// if the pod is invalid, or if the cluster cannot be read.
func (e *Explainer) Explain(ctx context.Context, pod Pod) (Explanation, error) {
	explanation := Explanation{Pod: pod}
	view, err := readPod(pod.Document)
	if err != nil {
		return explanation, fmt.Errorf("%s: invalid pod: %w", pod.From, err)
	}
	explanation.ServiceAccount = types.NamespacedName{Namespace: pod.Namespace, Name: view.Spec.ServiceAccountName}
	explanation.Identity, explanation.Result, err = e.mutator.Decide(ctx, &webhook.Request[inject.Pod]{
		Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Namespace: pod.Namespace,
		Operation: admissionv1.Create, Object: view,
	})
	denied, isDenied := errors.AsType[*rolepolicy.DeniedError](err)
	missing, isMissing := errors.AsType[*MissingInputError](err)
	switch {
	case isDenied:
		explanation.Denied = denied
	case isMissing:
		explanation.MissingInput = missing
	case err != nil:
		return explanation, fmt.Errorf("%s: %w", pod.From, err)
	}
	if inject.SkipReason(view) == "" {
		explanation.Findings = e.findings(ctx, explanation)
	}
	if explanation.Denied == nil && explanation.MissingInput == nil {
		if explanation.Patched, err = applyPatch(pod.Document, explanation.Result.Patch); err != nil {
			return explanation, fmt.Errorf("%s: apply the webhook's patch: %w", pod.From, err)
		}
	}
	return explanation, nil
}

// readPod decodes a pod from JSON, and sets the ServiceAccount to the default of the API
// server if it is missing. It returns an error if the JSON is not a valid pod. The error
// never quotes a value.
func readPod(document []byte) (*inject.Pod, error) {
	pod, err := inject.ReadPod(document)
	if err != nil {
		return nil, err
	}
	// serviceAccount is the deprecated alias of serviceAccountName.
	var deprecated struct {
		Spec struct {
			ServiceAccount string `json:"serviceAccount"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(document, &deprecated); err != nil {
		return nil, errors.New("spec.serviceAccount is not a string")
	}
	pod.Spec.ServiceAccountName = cmp.Or(pod.Spec.ServiceAccountName, deprecated.Spec.ServiceAccount, "default")
	return pod, nil
}

// findings returns the probable mistakes in the annotations of the ServiceAccount, without
// those that the webhook already warns about. It returns nil if the ServiceAccount cannot
// be read.
func (e *Explainer) findings(ctx context.Context, explanation Explanation) []lint.Finding {
	annotations, err := e.accounts.annotations(ctx, explanation.ServiceAccount)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(lint.Account(annotations, e.settings.Rules()), func(f lint.Finding) bool {
		return explanation.Identity != nil && slices.ContainsFunc(explanation.Identity.Problems, func(p identity.AnnotationWarning) bool { return p.Annotation == f.Annotation })
	})
}

// applyPatch applies a patch with the library that the API server uses. It returns an error
// if the patch is invalid.
func applyPatch(document, patch []byte) ([]byte, error) {
	if patch == nil {
		return document, nil
	}
	operations, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		return nil, err
	}
	return operations.Apply(document)
}
