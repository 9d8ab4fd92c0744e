package provision

import (
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
	// fieldManager is whose fields those are that are written here. It says later
	// which annotations of a ServiceAccount were.
	fieldManager = "kubectl-irsa"
	// managedByLabel with fieldManager marks the ServiceAccounts that were created
	// here (Kubernetes documentation, "Recommended Labels").
	managedByLabel = "app.kubernetes.io/managed-by"
)

// serviceAccount is a ServiceAccount, or nil where there is none.
type serviceAccount struct {
	*corev1.ServiceAccount
	prefix string
}

// readAccount returns nil if the cluster has none.
func (c *Cluster) readAccount(ctx context.Context, namespace, name string) (*serviceAccount, error) {
	found, err := c.Client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return &serviceAccount{ServiceAccount: found, prefix: c.AnnotationPrefix}, nil
}

// role returns what the annotation names, which may be anything.
func (a *serviceAccount) role() string {
	if a == nil {
		return ""
	}
	return a.Annotations[a.prefix+"/"+identity.RoleARNAnnotation]
}

// audience returns that of the tokens of the account's pods.
func (a *serviceAccount) audience() string {
	if a != nil {
		if audience := a.Annotations[a.prefix+"/"+identity.AudienceAnnotation]; audience != "" {
			return audience
		}
	}
	return DefaultAudience
}

// createdByTool says whether the whole ServiceAccount was.
func (a *serviceAccount) createdByTool() bool { return a.Labels[managedByLabel] == fieldManager }

// annotationManagedByTool says whether an annotation was last written here.
func (a *serviceAccount) annotationManagedByTool(annotation string) bool {
	return slices.Contains(a.annotationManagers(annotation), fieldManager)
}

// annotationManagers returns who manages an annotation, by the fields that the API server
// keeps a record of (Kubernetes documentation, "Server-Side Apply", "Field
// management").
func (a *serviceAccount) annotationManagers(annotation string) []string {
	var writers []string
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
			continue // it tells nothing, so it names nobody
		}
		if _, writes := fields.Metadata.Annotations["f:"+annotation]; writes {
			writers = append(writers, entry.Manager)
		}
	}
	return writers
}

// planAccount plans the ServiceAccount with the annotation that names the role.
func (c *Cluster) planAccount(ctx context.Context, plan *Plan, spec IdentitySpec, existing *serviceAccount, roleARN string) error {
	annotations := c.annotations(spec, existing, roleARN)
	name := spec.Namespace + "/" + spec.Name
	if existing == nil {
		if err := c.checkNamespace(ctx, spec.Namespace); err != nil {
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
			return fmt.Errorf("ServiceAccount %s has the annotation %s=%s already, and not %s: --override-existing-serviceaccounts puts that in its place, --role-only leaves the ServiceAccount alone",
				name, annotation, current, changes[annotation])
		}
		if writers := slices.DeleteFunc(existing.annotationManagers(annotation), func(writer string) bool { return writer == fieldManager }); ok && len(writers) > 0 {
			plan.warn("annotation %s of ServiceAccount %s was written by %s, which may put it back", annotation, name, writers[0])
		}
	}
	plan.addChange(Update, kindServiceAccount, name, annotationDetails(changes, existing.Annotations), func(ctx context.Context) error {
		return c.annotate(ctx, existing, changes)
	})
	return nil
}

// annotations returns those that the ServiceAccount needs. An audience that is
// the webhook's default needs none.
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

// checkNamespace finds early that there is no namespace to create in. Whoever
// may not read namespaces learns it when the step is done.
func (c *Cluster) checkNamespace(ctx context.Context, namespace string) error {
	_, err := c.Client.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("there is no namespace %s: kubectl create namespace %s", namespace, namespace)
	}
	if err != nil && !apierrors.IsForbidden(err) {
		return fmt.Errorf("read namespace %s: %w", namespace, err)
	}
	return nil
}

func (c *Cluster) createAccount(ctx context.Context, spec IdentitySpec, annotations map[string]string) error {
	_, err := c.Client.CoreV1().ServiceAccounts(spec.Namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{
		Name: spec.Name, Annotations: annotations, Labels: map[string]string{managedByLabel: fieldManager},
	}}, metav1.CreateOptions{FieldManager: fieldManager})
	return err
}

// annotate changes annotations and nothing else, and only if the ServiceAccount
// is still as it was planned for.
func (c *Cluster) annotate(ctx context.Context, a *serviceAccount, annotations map[string]string) error {
	changes := make(map[string]any, len(annotations))
	for annotation, value := range annotations {
		changes[annotation] = value
	}
	return c.patch(ctx, a, changes)
}

// patch sets annotations, and removes those that are nil.
func (c *Cluster) patch(ctx context.Context, a *serviceAccount, annotations map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": a.ResourceVersion, "annotations": annotations,
	}})
	if err != nil {
		return fmt.Errorf("write the patch: %w", err)
	}
	_, err = c.Client.CoreV1().ServiceAccounts(a.Namespace).Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	return err
}

// deleteAccount deletes a ServiceAccount that is still as it was planned for.
func (c *Cluster) deleteAccount(ctx context.Context, a *serviceAccount) error {
	err := c.Client.CoreV1().ServiceAccounts(a.Namespace).Delete(ctx, a.Name, metav1.DeleteOptions{
		Preconditions: &metav1.Preconditions{UID: &a.UID, ResourceVersion: &a.ResourceVersion},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
