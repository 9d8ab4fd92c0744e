package localsts

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// account is the state of the server and the content of the state file. An account
// that is in use is never modified: the store changes a copy and then replaces the account.
type account struct {
	// Format is the version of the file format.
	Format int `json:"format"`
	// ID is the account ID, 12 digits.
	ID string `json:"accountId"`
	// SessionKey encrypts session tokens.
	SessionKey []byte `json:"sessionKey"`
	// Providers is indexed by ARN, Roles by name.
	Providers map[string]*provider `json:"openIDConnectProviders"`
	Roles     map[string]*role     `json:"roles"`
}

// format is the version that this program writes, and the only one that it reads.
const format = 1

// sessionKeySize is the key size of AES-256 in bytes.
const sessionKeySize = 32

type provider struct {
	// URL includes the scheme, as the caller sent it.
	URL         string            `json:"url"`
	ClientIDs   []string          `json:"clientIds"`
	Thumbprints []string          `json:"thumbprints"`
	Tags        map[string]string `json:"tags"`
	Created     time.Time         `json:"created"`
}

type role struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Path        string `json:"path"`
	Description string `json:"description"`
	// TrustPolicy is the document as the caller sent it.
	TrustPolicy string `json:"assumeRolePolicyDocument"`
	// MaxSession is in seconds.
	MaxSession int `json:"maxSessionDuration"`
	// Boundary is the ARN of the permissions boundary, or empty.
	Boundary string `json:"permissionsBoundary"`
	// Attached holds ARNs of policies, Inline holds policy documents by name.
	Attached []string          `json:"attachedPolicies"`
	Inline   map[string]string `json:"inlinePolicies"`
	Tags     map[string]string `json:"tags"`
	Created  time.Time         `json:"created"`
}

func newAccount(id string) *account {
	key := make([]byte, sessionKeySize)
	_, _ = rand.Read(key) // crypto/rand.Read never returns an error
	return &account{
		Format: format, ID: id, SessionKey: key,
		Providers: map[string]*provider{}, Roles: map[string]*role{},
	}
}

// parseAccount parses a state file. It returns an error if this program cannot have written
// the content, so that the server never starts with other data.
func parseAccount(content []byte) (*account, error) {
	var read account
	if err := json.Unmarshal(content, &read); err != nil {
		return nil, fmt.Errorf("not a state file of local-sts: %w", err)
	}
	if err := read.check(); err != nil {
		return nil, err
	}
	return &read, nil
}

// check returns an error if the account is not one that this program can have written.
func (a *account) check() error {
	switch {
	case a.Format != format:
		return fmt.Errorf("format %d is not supported, want %d", a.Format, format)
	case !accountID.MatchString(a.ID):
		return fmt.Errorf("account ID %q does not have 12 digits", a.ID)
	case len(a.SessionKey) != sessionKeySize:
		return fmt.Errorf("sessionKey does not have %d bytes", sessionKeySize)
	case a.Providers == nil || a.Roles == nil:
		return errors.New("openIDConnectProviders or roles is missing")
	}
	for arn, p := range a.Providers {
		if p == nil {
			return fmt.Errorf("provider %q is null", arn)
		}
		if want, err := trustpolicy.ProviderARN(partition, a.ID, p.URL); err != nil || arn != want {
			return fmt.Errorf("provider %q does not match its URL %q", arn, p.URL)
		}
	}
	for name, r := range a.Roles {
		if r == nil {
			return fmt.Errorf("role %q is null", name)
		}
		if r.Name != name || !namePattern.MatchString(name) || !pathPattern.MatchString(r.Path) || r.ID == "" {
			return fmt.Errorf("role %q has no valid name, path or id", name)
		}
		if _, err := trustpolicy.Parse([]byte(r.TrustPolicy)); err != nil {
			return fmt.Errorf("role %q: %w", name, err)
		}
	}
	return nil
}

func (a *account) encode() ([]byte, error) {
	content, err := json.MarshalIndent(a, "", "  ") //nolint:gosec // the file holds the key: its mode is 0600
	if err != nil {
		return nil, err
	}
	return append(content, '\n'), nil
}

// clone returns a copy that shares no mutable data with a.
func (a *account) clone() *account {
	copied := *a
	copied.Providers = make(map[string]*provider, len(a.Providers))
	for arn, p := range a.Providers {
		c := *p
		c.ClientIDs, c.Thumbprints, c.Tags = slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints), maps.Clone(p.Tags)
		copied.Providers[arn] = &c
	}
	copied.Roles = make(map[string]*role, len(a.Roles))
	for name, r := range a.Roles {
		c := *r
		c.Attached, c.Inline, c.Tags = slices.Clone(r.Attached), maps.Clone(r.Inline), maps.Clone(r.Tags)
		copied.Roles[name] = &c
	}
	return &copied
}

func (a *account) roleARN(r *role) string {
	return "arn:" + partition + ":iam::" + a.ID + ":role" + r.Path + r.Name
}

// roleByARN returns the role with this ARN, which includes the path, or nil.
func (a *account) roleByARN(arn string) *role {
	for _, r := range a.Roles {
		if a.roleARN(r) == arn {
			return r
		}
	}
	return nil
}

// role returns the role with this name. It returns the NoSuchEntity error of IAM if there
// is none.
func (a *account) role(name string) (*role, error) {
	if r := a.Roles[name]; r != nil {
		return r, nil
	}
	return nil, noSuchEntity("The role with name %s cannot be found.", name)
}

// provider returns the provider with this ARN. It returns the NoSuchEntity error of IAM if
// there is none.
func (a *account) provider(arn string) (*provider, error) {
	if p := a.Providers[arn]; p != nil {
		return p, nil
	}
	return nil, noSuchEntity("OpenIDConnect Provider not found for arn %s", arn)
}
