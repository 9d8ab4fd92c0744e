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

// account is all that there is to keep, and what the state file holds. One that is
// in use is never changed: a change is made to a copy, which then takes its place.
type account struct {
	// Format is that of the file.
	Format int `json:"format"`
	// ID is the account's, of 12 digits.
	ID string `json:"accountId"`
	// SessionKey is what session tokens are sealed with.
	SessionKey []byte `json:"sessionKey"`
	// Providers are by their ARN, Roles by their name.
	Providers map[string]*provider `json:"openIDConnectProviders"`
	Roles     map[string]*role     `json:"roles"`
}

// format is the one that this program writes, and the only one that it reads.
const format = 1

// sessionKeySize is that of AES-256.
const sessionKeySize = 32

type provider struct {
	// URL is with its scheme, as it was given.
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
	// TrustPolicy is the document as it was given.
	TrustPolicy string `json:"assumeRolePolicyDocument"`
	// MaxSession is in seconds.
	MaxSession int `json:"maxSessionDuration"`
	// Boundary is the ARN of the permissions boundary; empty for none.
	Boundary string `json:"permissionsBoundary"`
	// Attached are ARNs of policies, Inline policies by their name.
	Attached []string          `json:"attachedPolicies"`
	Inline   map[string]string `json:"inlinePolicies"`
	Tags     map[string]string `json:"tags"`
	Created  time.Time         `json:"created"`
}

func newAccount(id string) *account {
	key := make([]byte, sessionKeySize)
	_, _ = rand.Read(key) // it never fails: see its documentation
	return &account{
		Format: format, ID: id, SessionKey: key,
		Providers: map[string]*provider{}, Roles: map[string]*role{},
	}
}

// parseAccount reads a state file, and holds it to what this program would have
// written: a file that is of something else is no state to begin from.
func parseAccount(content []byte) (*account, error) {
	var read account
	if err := json.Unmarshal(content, &read); err != nil {
		return nil, fmt.Errorf("it is not what local-sts writes: %w", err)
	}
	if err := read.check(); err != nil {
		return nil, err
	}
	return &read, nil
}

func (a *account) check() error {
	switch {
	case a.Format != format:
		return fmt.Errorf("its format is %d, and this program knows %d", a.Format, format)
	case !accountID.MatchString(a.ID):
		return fmt.Errorf("its account %q is not of 12 digits", a.ID)
	case len(a.SessionKey) != sessionKeySize:
		return fmt.Errorf("its session key is not of %d bytes", sessionKeySize)
	case a.Providers == nil || a.Roles == nil:
		return errors.New("it has no providers or no roles, not even none")
	}
	for arn, p := range a.Providers {
		if p == nil {
			return fmt.Errorf("provider %q is null", arn)
		}
		if want, err := trustpolicy.ProviderARN(partition, a.ID, p.URL); err != nil || arn != want {
			return fmt.Errorf("provider %q is not that of its URL %q", arn, p.URL)
		}
	}
	for name, r := range a.Roles {
		if r == nil {
			return fmt.Errorf("role %q is null", name)
		}
		if r.Name != name || !namePattern.MatchString(name) || !pathPattern.MatchString(r.Path) || r.ID == "" {
			return fmt.Errorf("role %q lacks its name, path or id", name)
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

// clone returns a copy that shares nothing that may change.
func (a *account) clone() *account {
	copied := *a
	copied.Providers = make(map[string]*provider, len(a.Providers))
	for arn, p := range a.Providers {
		of := *p
		of.ClientIDs, of.Thumbprints, of.Tags = slices.Clone(p.ClientIDs), slices.Clone(p.Thumbprints), maps.Clone(p.Tags)
		copied.Providers[arn] = &of
	}
	copied.Roles = make(map[string]*role, len(a.Roles))
	for name, r := range a.Roles {
		of := *r
		of.Attached, of.Inline, of.Tags = slices.Clone(r.Attached), maps.Clone(r.Inline), maps.Clone(r.Tags)
		copied.Roles[name] = &of
	}
	return &copied
}

func (a *account) roleARN(r *role) string {
	return "arn:" + partition + ":iam::" + a.ID + ":role" + r.Path + r.Name
}

// roleByARN returns the role whose ARN it is, or nil. The path is part of it.
func (a *account) roleByARN(arn string) *role {
	for _, r := range a.Roles {
		if a.roleARN(r) == arn {
			return r
		}
	}
	return nil
}

// role returns one for a call that names it.
func (a *account) role(name string) (*role, error) {
	if r := a.Roles[name]; r != nil {
		return r, nil
	}
	return nil, noSuchEntity("The role with name %s cannot be found.", name)
}

func (a *account) provider(arn string) (*provider, error) {
	if p := a.Providers[arn]; p != nil {
		return p, nil
	}
	return nil, noSuchEntity("OpenIDConnect Provider not found for arn %s", arn)
}
