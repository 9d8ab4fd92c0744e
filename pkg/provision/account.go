package provision

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

const (
	// fieldManager is the field manager of the annotations that this package writes.
	// A later run finds by it which annotations it wrote.
	fieldManager = "kubectl-irsa"
	// managedByLabel with the value fieldManager marks the ServiceAccounts that this
	// package created (Kubernetes documentation, "Recommended Labels").
	managedByLabel = "app.kubernetes.io/managed-by"
)

// serviceAccount is a ServiceAccount and the annotation prefix. A nil pointer is a
// ServiceAccount that does not exist.
type serviceAccount struct {
	*corev1.ServiceAccount
	prefix string
}

// readAccount returns the ServiceAccount, or nil if it does not exist.
func (c *Cluster) readAccount(ctx context.Context, namespace, name string) (*serviceAccount, error) {
	found, err := c.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return &serviceAccount{ServiceAccount: found, prefix: c.AnnotationPrefix}, nil
}

// role returns the value of the role annotation, which can be any text.
func (a *serviceAccount) role() string {
	if a == nil {
		return ""
	}
	return a.Annotations[a.prefix+"/"+identity.RoleARNAnnotation]
}

// audience returns the audience of the tokens that the account's pods get.
func (a *serviceAccount) audience() string {
	if a != nil {
		if audience := a.Annotations[a.prefix+"/"+identity.AudienceAnnotation]; audience != "" {
			return audience
		}
	}
	return DefaultAudience
}

// createdByTool reports whether kubectl irsa created the ServiceAccount.
func (a *serviceAccount) createdByTool() bool { return a.Labels[managedByLabel] == fieldManager }

// managedBy returns the tool that installs the ServiceAccount, or "".
func (a *serviceAccount) managedBy() string {
	// See the pages on resource tracking of Argo CD, and on labels of Helm and Flux.
	for _, tool := range []struct{ name, key string }{
		{"Argo CD", "argocd.argoproj.io/tracking-id"},
		{"Argo CD", "argocd.argoproj.io/instance"},
		{"Flux", "helm.toolkit.fluxcd.io/name"},
		{"Flux", "kustomize.toolkit.fluxcd.io/name"},
		{"Helm", "meta.helm.sh/release-name"},
	} {
		if value := cmp.Or(a.Annotations[tool.key], a.Labels[tool.key]); value != "" {
			return tool.name + " (" + value + ")"
		}
	}
	if a.Labels[managedByLabel] == "Helm" {
		return "Helm"
	}
	return ""
}

// annotationManagedByTool reports whether kubectl irsa manages an annotation.
func (a *serviceAccount) annotationManagedByTool(annotation string) bool {
	return slices.Contains(a.annotationManagers(annotation), fieldManager)
}

// annotationManagers returns the field managers of an annotation, as the API server
// records them (Kubernetes documentation, "Server-Side Apply", "Field management").
func (a *serviceAccount) annotationManagers(annotation string) []string {
	var managers []string
	for _, entry := range a.ManagedFields {
		if entry.FieldsV1 == nil {
			continue
		}
		var fields struct {
			Metadata struct {
				Annotations map[string]json.RawMessage `json:"f:annotations"`
			} `json:"f:metadata"`
		}
		if err := json.Unmarshal(entry.FieldsV1.GetRawBytes(), &fields); err != nil {
			continue // an invalid entry names no field
		}
		if _, writes := fields.Metadata.Annotations["f:"+annotation]; writes {
			managers = append(managers, entry.Manager)
		}
	}
	return managers
}

// planAccount adds the steps for the ServiceAccount and its annotations to the plan. It
// returns an error if the namespace does not exist, or if an annotation has another value
// that spec does not override.
func (c *Cluster) planAccount(ctx context.Context, plan *Plan, spec IdentitySpec, existing *serviceAccount, roleARN string) error {
	annotations := c.annotations(spec, existing, roleARN)
	name := spec.Namespace + "/" + spec.Name
	if existing == nil {
		if err := c.planNamespace(ctx, plan, spec); err != nil {
			return err
		}
		plan.addChange(Create, kindServiceAccount, name, annotationDetails(annotations, nil), func(ctx context.Context) error {
			return c.createAccount(ctx, spec, annotations)
		})
		return nil
	}
	changes := missingTags(existing.Annotations, annotations)
	if len(changes) == 0 {
		plan.addUnchanged(Update, kindServiceAccount, name, annotationDetails(annotations, nil)...)
		return nil
	}
	for annotation := range changes {
		current, ok := existing.Annotations[annotation]
		if ok && current != "" && !spec.Override {
			return fmt.Errorf("ServiceAccount %s has the annotation %s=%s, not %s; pass --override-existing-serviceaccounts to replace the value, or --role-only to keep the ServiceAccount unchanged",
				name, annotation, current, changes[annotation])
		}
		if writers := slices.DeleteFunc(existing.annotationManagers(annotation), func(writer string) bool { return writer == fieldManager }); ok && len(writers) > 0 {
			plan.warn("annotation %s of ServiceAccount %s was written by %s, which may restore the old value", annotation, name, writers[0])
		}
	}
	if manager := existing.managedBy(); manager != "" {
		plan.warn("ServiceAccount %s is managed by %s, which may remove the annotation; pass --role-only, and set the annotation %s=%s there", name, manager,
			c.AnnotationPrefix+"/"+identity.RoleARNAnnotation, roleARN)
	}
	plan.addChange(Update, kindServiceAccount, name, annotationDetails(changes, existing.Annotations), func(ctx context.Context) error {
		return c.annotate(ctx, existing, changes)
	})
	return nil
}

// annotations returns the annotations that the ServiceAccount needs. It needs none for an
// audience that its tokens have already.
func (c *Cluster) annotations(spec IdentitySpec, existing *serviceAccount, roleARN string) map[string]string {
	annotations := map[string]string{c.AnnotationPrefix + "/" + identity.RoleARNAnnotation: roleARN}
	if spec.Audience != existing.audience() {
		annotations[c.AnnotationPrefix+"/"+identity.AudienceAnnotation] = spec.Audience
	}
	return annotations
}

func annotationDetails(annotations, current map[string]string) []string {
	details := make([]string, 0, len(annotations))
	for _, tag := range toIAM(annotations) {
		detail := "annotation " + *tag.Key + "=" + *tag.Value
		if instead := current[*tag.Key]; instead != "" {
			detail += " instead of " + instead
		}
		details = append(details, detail)
	}
	return details
}

// planNamespace plans the namespace of a new ServiceAccount, if it does not exist. Without
// spec.CreateNamespace, it returns an error then. It plans nothing if the caller may not get
// namespaces; then the step of the ServiceAccount fails later.
func (c *Cluster) planNamespace(ctx context.Context, plan *Plan, spec IdentitySpec) error {
	_, err := c.Client.CoreV1().Namespaces().Get(ctx, spec.Namespace, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && !spec.CreateNamespace:
		return fmt.Errorf("namespace %[1]s does not exist; pass --create-namespace, or run: kubectl create namespace %[1]s", spec.Namespace)
	case apierrors.IsNotFound(err):
		plan.addChange(Create, kindNamespace, spec.Namespace, nil, func(ctx context.Context) error {
			_, err := c.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: spec.Namespace}}, metav1.CreateOptions{FieldManager: fieldManager})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		})
		return nil
	case err != nil && !apierrors.IsForbidden(err):
		return fmt.Errorf("get namespace %s: %w", spec.Namespace, err)
	default:
		return nil
	}
}

func (c *Cluster) createAccount(ctx context.Context, spec IdentitySpec, annotations map[string]string) error {
	_, err := c.Client.CoreV1().ServiceAccounts(spec.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: spec.Name, Annotations: annotations, Labels: map[string]string{managedByLabel: fieldManager},
	}}, metav1.CreateOptions{FieldManager: fieldManager})
	return err
}

// annotate sets annotations and changes nothing else. It returns an error if the
// ServiceAccount has changed since the plan.
func (c *Cluster) annotate(ctx context.Context, a *serviceAccount, annotations map[string]string) error {
	changes := make(map[string]any, len(annotations))
	for annotation, value := range annotations {
		changes[annotation] = value
	}
	return c.patch(ctx, a, changes)
}

// patch sets annotations, and removes those with a nil value. It returns an error if the
// ServiceAccount has changed since the plan.
func (c *Cluster) patch(ctx context.Context, a *serviceAccount, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": a.ResourceVersion, "annotations": annotations,
	}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	_, err = c.Client.CoreV1().ServiceAccounts(a.Namespace).Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// deleteAccount deletes a ServiceAccount. It returns an error if the ServiceAccount has
// changed since the plan, and nil if it does not exist.
func (c *Cluster) deleteAccount(ctx context.Context, a *serviceAccount) error {
	err := c.Client.CoreV1().ServiceAccounts(a.Namespace).Delete(ctx, a.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &a.UID, ResourceVersion: &a.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
