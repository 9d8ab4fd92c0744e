package localsts

import (
	"maps"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// The quotas of OIDC providers (IAM User Guide, reference_iam-quotas, and IAM API
// reference, CreateOpenIDConnectProvider).
const (
	maxProviders   = 100
	maxClientIDs   = 100
	maxThumbprints = 5
)

func clientIDRule() rule   { return rule{required: true, min: 1, max: 255} }
func thumbprintRule() rule { return rule{required: true, min: 40, max: 40} }

type createdProvider struct {
	OpenIDConnectProviderArn string
	Tags                     list[tag]
}

type providerResult struct {
	// URL is without its scheme, as IAM returns it.
	URL            string `xml:"Url"`
	ClientIDList   list[string]
	ThumbprintList list[string]
	CreateDate     string
	Tags           list[tag]
}

type providerEntry struct{ Arn string }

type providersResult struct {
	OpenIDConnectProviderList list[providerEntry]
}

func (s *Server) createProvider(c *call) (any, error) {
	p := &c.parameters
	url := p.text("Url", rule{required: true, min: 1, max: 255})
	clients := p.texts("ClientIDList", maxClientIDs, clientIDRule())
	thumbprints := p.texts("ThumbprintList", maxThumbprints, thumbprintRule())
	tags, err := p.tags()
	if err != nil {
		return nil, err
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	id := s.store.view().ID
	arn, err := trustpolicy.ProviderARN(partition, id, url)
	if err != nil {
		return nil, validationError("Invalid Open ID Connect Provider URL")
	}
	if err := checkThumbprints(thumbprints); err != nil {
		return nil, err
	}
	err = s.store.update(func(a *account) error {
		if a.Providers[arn] != nil {
			return alreadyExists("Provider with url %s already exists.", url)
		}
		if len(a.Providers) >= maxProviders {
			return limitExceeded("OpenIdConnectProvidersPerAccount", maxProviders)
		}
		a.Providers[arn] = &provider{
			URL: url, ClientIDs: slices.Compact(slices.Sorted(slices.Values(clients))),
			Thumbprints: thumbprints, Tags: tags, Created: s.options.Now().UTC(),
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return createdProvider{arn, listOf(sortedTags(tags))}, nil
}

// checkThumbprints returns an error if a thumbprint is not 40 hexadecimal digits. It
// accepts an empty list: IAM then reads the thumbprint of the issuer's server. This
// server does not read it, because it trusts issuers only by their CAs.
func checkThumbprints(thumbprints []string) error {
	for _, thumbprint := range thumbprints {
		if !hexPattern.MatchString(thumbprint) {
			return invalidInput("Thumbprint must be a 40-character hexadecimal string.")
		}
	}
	return nil
}

// providerARN reads the parameter that identifies the provider. All calls on providers
// have it, except those that create and list them.
func (p *parameters) providerARN() string { return p.text("OpenIDConnectProviderArn", arnRule()) }

// changeProvider calls do with a copy of the provider arn and stores the copy. It returns
// an error, and changes nothing, if a parameter is invalid, the provider does not exist,
// or do returns an error.
func (s *Server) changeProvider(c *call, arn string, do func(*provider) error) (any, error) {
	if err := c.err(); err != nil {
		return nil, err
	}
	return nil, s.store.update(func(a *account) error {
		p, err := a.provider(arn)
		if err != nil {
			return err
		}
		return do(p)
	})
}

func (s *Server) getProvider(c *call) (any, error) {
	arn := c.providerARN()
	if err := c.err(); err != nil {
		return nil, err
	}
	p, err := s.store.view().provider(arn)
	if err != nil {
		return nil, err
	}
	return providerResult{
		URL: strings.TrimPrefix(p.URL, "https://"), ClientIDList: listOf(p.ClientIDs), ThumbprintList: listOf(p.Thumbprints),
		CreateDate: timestamp(p.Created), Tags: listOf(sortedTags(p.Tags)),
	}, nil
}

// listProviders returns all providers at once: this call has no pages (IAM API
// reference, ListOpenIDConnectProviders).
func (s *Server) listProviders(*call) (any, error) {
	var entries []providerEntry
	for _, arn := range slices.Sorted(maps.Keys(s.store.view().Providers)) {
		entries = append(entries, providerEntry{arn})
	}
	return providersResult{listOf(entries)}, nil
}

// deleteProvider deletes a provider. It also succeeds if the provider does not exist: the
// call "does not fail" then. Roles that trust the provider do not change. The source is
// DeleteOpenIDConnectProvider in the IAM API reference, which nevertheless lists
// NoSuchEntity among the errors.
func (s *Server) deleteProvider(c *call) (any, error) {
	arn := c.providerARN()
	if err := c.err(); err != nil {
		return nil, err
	}
	deleted := s.store.view().Providers[arn]
	err := s.store.update(func(a *account) error {
		delete(a.Providers, arn)
		return nil
	})
	if err == nil && deleted != nil {
		s.keyCache.remove(deleted.URL)
	}
	return nil, err
}

// addClientID adds a client ID to a provider. It is idempotent (IAM API reference,
// AddClientIDToOpenIDConnectProvider).
func (s *Server) addClientID(c *call) (any, error) {
	arn, client := c.providerARN(), c.text("ClientID", clientIDRule())
	return s.changeProvider(c, arn, func(p *provider) error {
		if slices.Contains(p.ClientIDs, client) {
			return nil
		}
		if len(p.ClientIDs) >= maxClientIDs {
			return limitExceeded("ClientIdsPerOpenIdConnectProvider", maxClientIDs)
		}
		p.ClientIDs = append(p.ClientIDs, client)
		slices.Sort(p.ClientIDs)
		return nil
	})
}

// removeClientID removes a client ID from a provider. It is idempotent (IAM API
// reference, RemoveClientIDFromOpenIDConnectProvider).
func (s *Server) removeClientID(c *call) (any, error) {
	arn, client := c.providerARN(), c.text("ClientID", clientIDRule())
	return s.changeProvider(c, arn, func(p *provider) error {
		p.ClientIDs = slices.DeleteFunc(p.ClientIDs, func(id string) bool { return id == client })
		return nil
	})
}

// updateThumbprint replaces all thumbprints of a provider (IAM API reference,
// UpdateOpenIDConnectProviderThumbprint).
func (s *Server) updateThumbprint(c *call) (any, error) {
	arn := c.providerARN()
	c.requireList("ThumbprintList")
	thumbprints := c.texts("ThumbprintList", maxThumbprints, thumbprintRule())
	return s.changeProvider(c, arn, func(p *provider) error {
		if err := checkThumbprints(thumbprints); err != nil {
			return err
		}
		p.Thumbprints = thumbprints
		return nil
	})
}

func (s *Server) tagProvider(c *call) (any, error) {
	arn := c.providerARN()
	tags, err := c.newTags()
	if err != nil {
		return nil, err
	}
	return s.changeProvider(c, arn, func(p *provider) (err error) {
		p.Tags, err = addTags(p.Tags, tags)
		return err
	})
}

func (s *Server) untagProvider(c *call) (any, error) {
	arn, keys := c.providerARN(), c.tagKeys()
	return s.changeProvider(c, arn, func(p *provider) error {
		removeTags(p.Tags, keys)
		return nil
	})
}

func (s *Server) listProviderTags(c *call) (any, error) {
	arn := c.providerARN()
	part, err := c.page()
	if err != nil {
		return nil, err
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	p, err := s.store.view().provider(arn)
	if err != nil {
		return nil, err
	}
	return tagsPage(p.Tags, part), nil
}

func tagsPage(tags map[string]string, part page) tagsResult {
	keys, marker := part.cut(slices.Collect(maps.Keys(tags)))
	entries := make([]tag, 0, len(keys))
	for _, key := range keys {
		entries = append(entries, tag{key, tags[key]})
	}
	return tagsResult{listOf(entries), marker != "", marker}
}
