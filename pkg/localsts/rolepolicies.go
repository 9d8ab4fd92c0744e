package localsts

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxAttachedPolicies is the maximum number of policies attached to a role. inlineSize is
	// the maximum number of characters of all its inline policies (IAM User Guide,
	// reference_iam-quotas).
	maxAttachedPolicies = 10
	inlineSize          = 10240
)

// policyARNs matches the ARNs of AWS managed and of customer managed policies.
var policyARNs = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(aws|\d{12}):policy/([!-~]+/)?[\w+=,.@-]{1,128}$`)

type attachedPolicy struct {
	PolicyName string
	PolicyArn  string
}

type attachedResult struct {
	AttachedPolicies list[attachedPolicy]
	IsTruncated      bool
	Marker           string `xml:",omitempty"`
}

type inlineResult struct {
	RoleName       string
	PolicyName     string
	PolicyDocument string
}

type inlineNamesResult struct {
	PolicyNames list[string]
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

type policyResult struct{ Policy policyDetail }

type policyDetail struct {
	PolicyName       string
	Arn              string
	Path             string
	DefaultVersionID string `xml:"DefaultVersionId"`
	AttachmentCount  int
	IsAttachable     bool
}

func (p *parameters) policyARN() string { return p.text("PolicyArn", arnRule()) }

func (p *parameters) policyName() string { return p.text("PolicyName", policyNameRule()) }

// attachPolicy attaches a policy to a role. If the policy is already attached, it succeeds
// and changes nothing, as IAM does.
func (s *Server) attachPolicy(c *call) (any, error) {
	arn := c.policyARN()
	return s.changeRole(c, func(r *role) error {
		switch {
		case !s.hasPolicy(arn):
			return noSuchEntity("Policy %s does not exist or is not attachable.", stripControlChars(arn))
		case slices.Contains(r.Attached, arn):
			return nil
		case len(r.Attached) >= maxAttachedPolicies:
			return limitExceeded("PoliciesPerRole", maxAttachedPolicies)
		}
		r.Attached = append(r.Attached, arn)
		slices.Sort(r.Attached)
		return nil
	})
}

func (s *Server) detachPolicy(c *call) (any, error) {
	arn := c.policyARN()
	return s.changeRole(c, func(r *role) error {
		i := slices.Index(r.Attached, arn)
		if i < 0 {
			return noSuchEntity("Policy %s was not found.", stripControlChars(arn))
		}
		r.Attached = slices.Delete(r.Attached, i, i+1)
		return nil
	})
}

// splitPolicy returns the path and the name in the ARN of a policy.
func splitPolicy(arn string) (path, name string) {
	_, resource, _ := strings.Cut(arn, ":policy")
	i := strings.LastIndex(resource, "/")
	return resource[:i+1], resource[i+1:]
}

func (s *Server) listAttachedPolicies(c *call) (any, error) {
	prefix := c.text("PathPrefix", rule{min: 1, max: 512})
	part, err := c.page()
	if err != nil {
		return nil, err
	}
	r, _, err := s.roleOf(c)
	if err != nil {
		return nil, err
	}
	var arns []string
	for _, arn := range r.Attached {
		if path, _ := splitPolicy(arn); strings.HasPrefix(path, prefix) {
			arns = append(arns, arn)
		}
	}
	arns, marker := part.cut(arns)
	var attached []attachedPolicy
	for _, arn := range arns {
		_, name := splitPolicy(arn)
		attached = append(attached, attachedPolicy{name, arn})
	}
	return attachedResult{listOf(attached), marker != "", marker}, nil
}

func (s *Server) putInlinePolicy(c *call) (any, error) {
	name, document := c.policyName(), c.text("PolicyDocument", policyRule())
	return s.changeRole(c, func(r *role) error {
		if err := checkPolicyShape(document); err != nil {
			return err
		}
		size := nonSpaceLength(document)
		for other, content := range r.Inline {
			if other != name {
				size += nonSpaceLength(content)
			}
		}
		if size > inlineSize {
			return newAPIError(http.StatusConflict, "LimitExceeded", "Maximum policy size of %d bytes exceeded for role %s", inlineSize, r.Name)
		}
		if r.Inline == nil {
			r.Inline = map[string]string{}
		}
		r.Inline[name] = document
		return nil
	})
}

func noSuchInlinePolicy(name string) error {
	return noSuchEntity("The role policy with name %s cannot be found.", name)
}

func (s *Server) getInlinePolicy(c *call) (any, error) {
	name := c.policyName()
	r, _, err := s.roleOf(c)
	if err != nil {
		return nil, err
	}
	document, exists := r.Inline[name]
	if !exists {
		return nil, noSuchInlinePolicy(name)
	}
	return inlineResult{r.Name, name, encodedPolicy(document)}, nil
}

func (s *Server) listInlinePolicies(c *call) (any, error) {
	part, err := c.page()
	if err != nil {
		return nil, err
	}
	r, _, err := s.roleOf(c)
	if err != nil {
		return nil, err
	}
	names, marker := part.cut(sortedNames(r.Inline))
	return inlineNamesResult{listOf(names), marker != "", marker}, nil
}

func (s *Server) deleteInlinePolicy(c *call) (any, error) {
	name := c.policyName()
	return s.changeRole(c, func(r *role) error {
		if _, exists := r.Inline[name]; !exists {
			return noSuchInlinePolicy(name)
		}
		delete(r.Inline, name)
		return nil
	})
}

// getPolicy returns the metadata of a policy. It returns neither dates nor an ID, because the
// server knows only the ARNs of policies.
func (s *Server) getPolicy(c *call) (any, error) {
	arn := c.policyARN()
	if err := c.err(); err != nil {
		return nil, err
	}
	if !s.hasPolicy(arn) {
		return nil, noSuchEntity("Policy %s was not found.", stripControlChars(arn))
	}
	path, name := splitPolicy(arn)
	count := 0
	for _, r := range s.store.view().Roles {
		if slices.Contains(r.Attached, arn) {
			count++
		}
	}
	return policyResult{policyDetail{
		PolicyName: name, Arn: arn, Path: path, DefaultVersionID: "v1", AttachmentCount: count, IsAttachable: true,
	}}, nil
}
