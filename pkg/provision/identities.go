package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Identity is a role that kubectl irsa created, with its ServiceAccount.
type Identity struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	RoleARN        string `json:"roleARN"`
	// State is the state of the pair.
	State IdentityState `json:"state"`
	// Annotated is the role that the ServiceAccount names, if not RoleARN.
	Annotated string `json:"annotated,omitempty"`
}

// IdentityState is the state of a role and its ServiceAccount.
type IdentityState string

// The states of an identity.
const (
	Complete IdentityState = "ok"
	// NotAnnotated is the state if the ServiceAccount names no role, for example after
	// --role-only.
	NotAnnotated     IdentityState = "not_annotated"
	OtherRole        IdentityState = "other_role"
	NoServiceAccount IdentityState = "no_serviceaccount"
	NoRole           IdentityState = "no_role"
	// Unknown is the state if the ServiceAccounts could not be read.
	Unknown IdentityState = "unknown"
)

var descriptions = map[IdentityState]string{
	Complete:         "ok",
	NotAnnotated:     "the ServiceAccount names no role",
	OtherRole:        "the ServiceAccount names another role",
	NoServiceAccount: "the ServiceAccount does not exist",
	NoRole:           "the role does not exist",
	Unknown:          "unknown",
}

// Description returns the state as text.
func (s IdentityState) Description() string { return descriptions[s] }

// Broken reports whether pods of the ServiceAccount do not get the role, or the role or
// the ServiceAccount does not exist.
func (s IdentityState) Broken() bool {
	return s == OtherRole || s == NoServiceAccount || s == NoRole
}

// Identities returns the roles that kubectl irsa created for ServiceAccounts of a namespace,
// or of all namespaces if namespace is "". It also returns the
// ServiceAccounts that kubectl irsa annotated with a role that no longer exists.
// accountsErr is the error if the ServiceAccounts could not be read; the roles are then
// returned with the state Unknown.
func (c *Cluster) Identities(ctx context.Context, namespace string) (identities []Identity, accountsErr, err error) {
	roles, err := c.managedRoles(ctx)
	if err != nil {
		return nil, nil, err
	}
	roles = slices.DeleteFunc(roles, func(r *role) bool { return namespace != "" && r.tags[tagNamespace] != namespace })
	accounts, accountsErr := c.accounts(ctx, namespace)
	named := map[string]bool{}
	identities = []Identity{}
	for _, r := range roles {
		found := Identity{Namespace: r.tags[tagNamespace], ServiceAccount: r.tags[tagServiceAccount], RoleARN: r.arn, State: Unknown}
		if accountsErr == nil {
			account := accounts[found.Namespace+"/"+found.ServiceAccount]
			found.State, found.Annotated = stateOf(account, r.arn)
		}
		named[r.arn] = true
		identities = append(identities, found)
	}
	orphans, err := c.orphans(ctx, accounts, named)
	if err != nil {
		return nil, nil, err
	}
	identities = append(identities, orphans...)
	slices.SortFunc(identities, func(a, b Identity) int {
		return strings.Compare(a.Namespace+"/"+a.ServiceAccount+"/"+a.RoleARN, b.Namespace+"/"+b.ServiceAccount+"/"+b.RoleARN)
	})
	return identities, accountsErr, nil
}

func stateOf(a *serviceAccount, roleARN string) (state IdentityState, annotated string) {
	switch {
	case a == nil:
		return NoServiceAccount, ""
	case a.role() == roleARN:
		return Complete, ""
	case a.role() == "":
		return NotAnnotated, ""
	default:
		return OtherRole, a.role()
	}
}

// accounts returns the ServiceAccounts of a namespace by namespace/name.
func (c *Cluster) accounts(ctx context.Context, namespace string) (map[string]*serviceAccount, error) {
	const pageSize = 500
	accounts := map[string]*serviceAccount{}
	options := metav1.ListOptions{Limit: pageSize}
	for {
		page, err := c.Client.CoreV1().ServiceAccounts(namespace).List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list ServiceAccounts: %w", err)
		}
		for i := range page.Items {
			read := &page.Items[i]
			accounts[read.Namespace+"/"+read.Name] = &serviceAccount{ServiceAccount: read, prefix: c.AnnotationPrefix}
		}
		if page.Continue == "" {
			return accounts, nil
		}
		options.Continue = page.Continue
	}
}

// orphans returns the ServiceAccounts that kubectl irsa annotated with a role that no
// longer exists. named has the roles that do exist.
func (c *Cluster) orphans(ctx context.Context, accounts map[string]*serviceAccount, named map[string]bool) ([]Identity, error) {
	var orphans []Identity
	for _, a := range accounts {
		current := a.role()
		name := c.roleNamed(current)
		if name == "" || named[current] || !a.annotationManagedByTool(a.prefix+"/"+identity.RoleARNAnnotation) {
			continue
		}
		found, err := c.readRole(ctx, name)
		if err != nil {
			return nil, err
		}
		if found == nil || found.arn != current {
			orphans = append(orphans, Identity{Namespace: a.Namespace, ServiceAccount: a.Name, RoleARN: current, State: NoRole})
		}
	}
	return orphans, nil
}
