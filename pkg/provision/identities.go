package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Identity is a role that was made here, with the ServiceAccount that it is for.
type Identity struct {
	Namespace      string `json:"namespace"`
	ServiceAccount string `json:"serviceAccount"`
	RoleARN        string `json:"roleARN"`
	// State says whether both are there and know each other.
	State IdentityState `json:"state"`
	// Annotated is the role that the ServiceAccount names, if it is another.
	Annotated string `json:"annotated,omitempty"`
}

// IdentityState says whether a role and its ServiceAccount belong together.
type IdentityState string

// The states of an identity.
const (
	Complete IdentityState = "ok"
	// NotAnnotated says that the ServiceAccount names no role: a role that was
	// made with --role-only, for instance.
	NotAnnotated     IdentityState = "not_annotated"
	OtherRole        IdentityState = "other_role"
	NoServiceAccount IdentityState = "no_serviceaccount"
	NoRole           IdentityState = "no_role"
	// Unknown says that the ServiceAccounts cannot be read.
	Unknown IdentityState = "unknown"
)

var descriptions = map[IdentityState]string{
	Complete:         "ok",
	NotAnnotated:     "the ServiceAccount names no role",
	OtherRole:        "the ServiceAccount names another role",
	NoServiceAccount: "there is no such ServiceAccount",
	NoRole:           "there is no such role",
	Unknown:          "unknown",
}

// Description says it to a person.
func (s IdentityState) Description() string { return descriptions[s] }

// Broken says whether pods of that ServiceAccount lack what was made for them,
// or what was made is for nobody.
func (s IdentityState) Broken() bool {
	return s == OtherRole || s == NoServiceAccount || s == NoRole
}

// Identities lists all roles that were made here for the cluster's
// ServiceAccounts in a namespace, or in all if it is "", and the ServiceAccounts
// that were given a role here that is gone. The error within says why
// ServiceAccounts could not be read.
func (c *Cluster) Identities(ctx context.Context, namespace string) (identities []Identity, unseen error, err error) {
	roles, err := c.managedRoles(ctx)
	if err != nil {
		return nil, nil, err
	}
	roles = slices.DeleteFunc(roles, func(r *role) bool { return namespace != "" && r.tags[tagNamespace] != namespace })
	accounts, unseen := c.accounts(ctx, namespace)
	named := map[string]bool{}
	identities = []Identity{}
	for _, r := range roles {
		found := Identity{Namespace: r.tags[tagNamespace], ServiceAccount: r.tags[tagServiceAccount], RoleARN: r.arn, State: Unknown}
		if unseen == nil {
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
	return identities, unseen, nil
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

// accounts returns the ServiceAccounts by namespace/name.
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

// orphans returns the ServiceAccounts whose role was written here and is gone.
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
