// Package explain owns the question what the webhook would do to the pods of some
// manifests. It runs the webhook's own code on them, without a cluster, or with
// what it reads of one; it writes to none.
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

// Config is what an Explainer needs.
type Config struct {
	Settings  settings.Settings
	Manifests *Manifests
	// Cluster is asked for what is in no file; nil to ask none.
	Cluster Cluster
	// MappingNamespace is that of the webhook, if it reads a ConfigMap of roles.
	MappingNamespace string
}

// Explainer says what the webhook would do.
type Explainer struct {
	mutator  *webhook.Mutator
	accounts accounts
	settings settings.Settings
	// Skipped has a sentence for each source with invalid entries, which the webhook
	// skips.
	Skipped []string
}

// New wires the webhook's parts to files.
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
			return nil, fmt.Errorf("list of ServiceAccounts for EKS Pod Identity in %s: %w", file, err)
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

// Explanation says what would happen to a pod.
type Explanation struct {
	Pod            Pod
	ServiceAccount types.NamespacedName
	// Identity is nil if none was looked for, or if it is not known.
	Identity *identity.Identity
	Result   inject.Result
	// Denied says why the pod would be refused, NotGiven what is not known.
	Denied, MissingInput error
	// Findings are probable mistakes in the annotations of the ServiceAccount.
	Findings []lint.Finding
	// Patched is the pod as it would be, as JSON, without what the API server
	// itself adds. It is nil if that is not known or the pod would be refused.
	Patched []byte
}

// Explain says what would happen to a pod if it were created now.
func (e *Explainer) Explain(ctx context.Context, pod Pod) (Explanation, error) {
	told := Explanation{Pod: pod}
	view, err := readPod(pod.Document)
	if err != nil {
		return told, fmt.Errorf("%s: it makes no pod: %w", pod.From, err)
	}
	told.ServiceAccount = types.NamespacedName{Namespace: pod.Namespace, Name: view.Spec.ServiceAccountName}
	told.Identity, told.Result, err = e.mutator.Decide(ctx, &webhook.Request[inject.Pod]{
		Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Namespace: pod.Namespace,
		Operation: admissionv1.Create, Object: view,
	})
	denied, isDenied := errors.AsType[*rolepolicy.DeniedError](err)
	missing, isMissing := errors.AsType[*MissingInputError](err)
	switch {
	case isDenied:
		told.Denied = denied
	case isMissing:
		told.MissingInput = missing
	case err != nil:
		return told, fmt.Errorf("%s: %w", pod.From, err)
	}
	if inject.SkipReason(view) == "" {
		told.Findings = e.findings(ctx, told)
	}
	if told.Denied == nil && told.MissingInput == nil {
		if told.Patched, err = applyPatch(pod.Document, told.Result.Patch); err != nil {
			return told, fmt.Errorf("%s: apply the webhook's patch: %w", pod.From, err)
		}
	}
	return told, nil
}

// readPod reads a pod, in JSON, as its user writes it. The ServiceAccount is as the
// API server fills it in. An error never quotes a value.
func readPod(document []byte) (*inject.Pod, error) {
	pod, err := inject.ReadPod(document)
	if err != nil {
		return nil, err
	}
	// The older name of serviceAccountName.
	var older struct {
		Spec struct {
			ServiceAccount string `json:"serviceAccount"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(document, &older); err != nil {
		return nil, errors.New("spec.serviceAccount is not a string")
	}
	pod.Spec.ServiceAccountName = cmp.Or(pod.Spec.ServiceAccountName, older.Spec.ServiceAccount, "default")
	return pod, nil
}

// findings are the probable mistakes in the annotations of the ServiceAccount of
// which the webhook does not warn already. There are none if it is not known.
func (e *Explainer) findings(ctx context.Context, told Explanation) []lint.Finding {
	annotations, err := e.accounts.annotations(ctx, told.ServiceAccount)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(lint.Account(annotations, e.settings.Rules()), func(f lint.Finding) bool {
		return told.Identity != nil && slices.ContainsFunc(told.Identity.Problems, func(p identity.AnnotationWarning) bool { return p.Annotation == f.Annotation })
	})
}

// applyPatch applies a patch as the API server does, with the same library.
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
