package localsts

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// The default quotas of roles (IAM User Guide, reference_iam-quotas).
const (
	maxRoles              = 1000
	trustPolicySize       = 2048
	minMaxSessionDuration = 3600
)

type roleDetail struct {
	Path                     string
	RoleName                 string
	RoleID                   string `xml:"RoleId"`
	Arn                      string
	CreateDate               string
	AssumeRolePolicyDocument string
	Description              string `xml:",omitempty"`
	MaxSessionDuration       int
	PermissionsBoundary      *boundary  `xml:",omitempty"`
	Tags                     *list[tag] `xml:",omitempty"`
}

type boundary struct {
	PermissionsBoundaryType string
	PermissionsBoundaryArn  string
}

type roleResult struct{ Role roleDetail }

type rolesResult struct {
	Roles       list[roleDetail]
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// detail returns a role in the form that CreateRole and GetRole return.
func (a *account) detail(r *role) roleDetail {
	d := a.summary(r)
	if len(r.Tags) > 0 {
		tags := listOf(sortedTags(r.Tags))
		d.Tags = &tags
	}
	if r.Boundary != "" {
		d.PermissionsBoundary = &boundary{"Policy", r.Boundary}
	}
	return d
}

// summary returns a role in the form that ListRoles returns, without tags and
// permissions boundary (IAM API reference, ListRoles).
func (a *account) summary(r *role) roleDetail {
	return roleDetail{
		Path: r.Path, RoleName: r.Name, RoleID: r.ID, Arn: a.roleARN(r), CreateDate: timestamp(r.Created),
		AssumeRolePolicyDocument: encodedPolicy(r.TrustPolicy), Description: r.Description, MaxSessionDuration: r.MaxSession,
	}
}

func (p *parameters) roleName() string { return p.text("RoleName", roleNameRule()) }

func descriptionRule() rule { return rule{max: 1000} }

func (s *Server) createRole(c *call) (any, error) {
	p := &c.parameters
	created := &role{
		ID: newID("AROA", 21), Name: p.roleName(), Path: p.text("Path", pathRule()),
		TrustPolicy: p.text("AssumeRolePolicyDocument", policyRule()),
		Description: p.text("Description", descriptionRule()),
		MaxSession:  p.number("MaxSessionDuration", minMaxSessionDuration, maxSessionDuration, minMaxSessionDuration),
		Boundary:    p.text("PermissionsBoundary", rule{min: 20, max: 2048}),
		Inline:      map[string]string{}, Created: s.options.Now().UTC(),
	}
	if created.Path == "" {
		created.Path = "/"
	}
	var err error
	if created.Tags, err = p.tags(); err != nil {
		return nil, err
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	if err := checkTrustPolicy(created.TrustPolicy); err != nil {
		return nil, err
	}
	if created.Boundary != "" && !s.hasPolicy(created.Boundary) {
		return nil, noSuchEntity("Scope ARN: %s does not exist or is not attachable.", created.Boundary)
	}
	err = s.store.update(func(a *account) error {
		// "Names are not distinguished by case" (IAM API reference, CreateRole).
		for name := range a.Roles {
			if strings.EqualFold(name, created.Name) {
				return alreadyExists("Role with name %s already exists.", created.Name)
			}
		}
		if len(a.Roles) >= maxRoles {
			return limitExceeded("RolesPerAccount", maxRoles)
		}
		a.Roles[created.Name] = created
		return nil
	})
	if err != nil {
		return nil, err
	}
	return roleResult{s.store.view().detail(created)}, nil
}

// checkTrustPolicy returns IAM's error if the document is malformed or too large. Unlike
// IAM's, the message of a malformed document can contain its position and a suggestion.
func checkTrustPolicy(document string) error {
	policy, err := trustpolicy.Parse([]byte(document))
	if err == nil {
		err = policy.Validate()
	}
	if err != nil {
		if malformed, ok := errors.AsType[*trustpolicy.MalformedError](err); ok {
			return malformedPolicy(malformed.Message)
		}
		return err
	}
	if nonSpaceLength(document) > trustPolicySize {
		return limitExceeded("ACLSizePerRole", trustPolicySize)
	}
	return nil
}

func (s *Server) getRole(c *call) (any, error) {
	r, a, err := s.roleOf(c)
	if err != nil {
		return nil, err
	}
	return roleResult{a.detail(r)}, nil
}

// roleOf returns the role that the call's RoleName selects, and its account. It returns an
// error if a parameter is invalid or the role does not exist.
func (s *Server) roleOf(c *call) (*role, *account, error) {
	name := c.roleName()
	if err := c.err(); err != nil {
		return nil, nil, err
	}
	a := s.store.view()
	r, err := a.role(name)
	return r, a, err
}

func (s *Server) listRoles(c *call) (any, error) {
	prefix := c.text("PathPrefix", rule{min: 1, max: 512})
	part, err := c.page()
	if err != nil {
		return nil, err
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	a := s.store.view()
	var names []string
	for name, r := range a.Roles {
		if strings.HasPrefix(r.Path, prefix) {
			names = append(names, name)
		}
	}
	names, marker := part.cut(names)
	var roles []roleDetail
	for _, name := range names {
		roles = append(roles, a.summary(a.Roles[name]))
	}
	return rolesResult{listOf(roles), marker != "", marker}, nil
}

// changeRole calls do with a copy of the role that the call's RoleName selects, and stores
// the copy. It returns an error, and changes nothing, if a parameter is invalid, the role
// does not exist, or do returns an error.
func (s *Server) changeRole(c *call, do func(*role) error) (any, error) {
	name := c.roleName()
	if err := c.err(); err != nil {
		return nil, err
	}
	return nil, s.store.update(func(a *account) error {
		r, err := a.role(name)
		if err != nil {
			return err
		}
		return do(r)
	})
}

type updateRoleResult struct{}

// updateRole sets the description and the maximum session duration of a role. Without a
// description it keeps the old one. Without a duration it sets one hour. UpdateRole in the
// IAM API reference states "If you do not specify a value for this setting, the default
// value of one hour is applied".
func (s *Server) updateRole(c *call) (any, error) {
	described := c.values.Has("Description")
	description := c.text("Description", descriptionRule())
	maxSession := c.number("MaxSessionDuration", minMaxSessionDuration, maxSessionDuration, defaultSession)
	_, err := s.changeRole(c, func(r *role) error {
		if described {
			r.Description = description
		}
		r.MaxSession = maxSession
		return nil
	})
	if err != nil {
		return nil, err
	}
	return updateRoleResult{}, nil
}

func (s *Server) updateAssumeRolePolicy(c *call) (any, error) {
	document := c.text("PolicyDocument", policyRule())
	return s.changeRole(c, func(r *role) error {
		if err := checkTrustPolicy(document); err != nil {
			return err
		}
		r.TrustPolicy = document
		return nil
	})
}

// deleteRole deletes a role. It returns an error if the role still has attached or inline
// policies (IAM API reference, DeleteRole). AWS does not document which of the two errors
// comes first.
func (s *Server) deleteRole(c *call) (any, error) {
	name := c.roleName()
	if err := c.err(); err != nil {
		return nil, err
	}
	return nil, s.store.update(func(a *account) error {
		r, err := a.role(name)
		switch {
		case err != nil:
			return err
		case len(r.Attached) > 0:
			return deleteConflict("Cannot delete entity, must detach all policies first.")
		case len(r.Inline) > 0:
			return deleteConflict("Cannot delete entity, must delete policies first.")
		}
		delete(a.Roles, name)
		return nil
	})
}

func (s *Server) tagRole(c *call) (any, error) {
	tags, err := c.newTags()
	if err != nil {
		return nil, err
	}
	return s.changeRole(c, func(r *role) (err error) {
		r.Tags, err = addTags(r.Tags, tags)
		return err
	})
}

func (s *Server) untagRole(c *call) (any, error) {
	keys := c.tagKeys()
	return s.changeRole(c, func(r *role) error {
		removeTags(r.Tags, keys)
		return nil
	})
}

func (s *Server) listRoleTags(c *call) (any, error) {
	part, err := c.page()
	if err != nil {
		return nil, err
	}
	r, _, err := s.roleOf(c)
	if err != nil {
		return nil, err
	}
	return tagsPage(r.Tags, part), nil
}

func (s *Server) putBoundary(c *call) (any, error) {
	arn := c.text("PermissionsBoundary", arnRule())
	return s.changeRole(c, func(r *role) error {
		if !s.hasPolicy(arn) {
			return noSuchEntity("Scope ARN: %s does not exist or is not attachable.", stripControlChars(arn))
		}
		r.Boundary = arn
		return nil
	})
}

func (s *Server) deleteBoundary(c *call) (any, error) {
	return s.changeRole(c, func(r *role) error {
		if r.Boundary == "" {
			return newAPIError(http.StatusNotFound, "NoSuchEntity", "The role with name %s has no permissions boundary.", r.Name)
		}
		r.Boundary = ""
		return nil
	})
}

type instanceProfilesResult struct {
	InstanceProfiles list[string]
	IsTruncated      bool
}

// listInstanceProfiles returns an empty list. It exists because tools call it before they
// delete a role.
func (s *Server) listInstanceProfiles(c *call) (any, error) {
	if _, _, err := s.roleOf(c); err != nil {
		return nil, err
	}
	return instanceProfilesResult{}, nil
}

// sortedNames returns the sorted names of inline policies.
func sortedNames(policies map[string]string) []string { return slices.Sorted(maps.Keys(policies)) }
