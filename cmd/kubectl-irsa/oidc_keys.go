package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer/publish"
)

// oidcSource is the source of an issuer's keys: the running cluster, files, or both. Both
// are needed before the next key signs.
type oidcSource struct {
	*options
	publicKeys      []string
	issuer, jwksURI string
	withCluster     bool
}

// oidcKey is a public key and its source.
type oidcKey struct {
	ID        string `json:"id"`
	Algorithm string `json:"algorithm"`
	From      string `json:"source"`

	jwk jose.JSONWebKey
}

// oidcIssuer is an issuer with the keys that it must publish.
type oidcIssuer struct {
	URL      string    `json:"issuer"`
	JWKSURI  string    `json:"jwksURI"`
	Keys     []oidcKey `json:"keys"`
	Warnings []string  `json:"warnings,omitempty"`

	site publish.Site
}

// inCluster is the source of the API server's keys.
const inCluster = "the cluster"

func (s *oidcSource) addKeyFlags(flags *pflag.FlagSet) {
	flags.StringArrayVar(&s.publicKeys, "public-key", nil, "PEM `file` of public keys, such as the API server's --service-account-key-file. Private keys and incomplete files are rejected. Can be repeated. Defaults to the keys of the running cluster.")
	flags.BoolVar(&s.withCluster, "with-cluster", false, "If true, add the keys of the running cluster to those of --public-key, as needed for a key rotation.")
	flags.StringVar(&s.issuer, "issuer", "", "`URL` of the issuer. Defaults to the issuer that the API server publishes.")
}

func (s *oidcSource) addFlags(flags *pflag.FlagSet) {
	s.addKeyFlags(flags)
	flags.StringVar(&s.jwksURI, "jwks-uri", "", "`URL` of the key set. Defaults to the URL that the API server publishes if that is below the issuer, and otherwise to /openid/v1/jwks below the issuer.")
}

func (s *oidcSource) usesClusterKeys() bool { return len(s.publicKeys) == 0 || s.withCluster }

// load reads the keys and creates the documents to publish.
func (s *oidcSource) load(ctx context.Context) (oidcIssuer, error) {
	var cluster issuer.Issuer
	if s.usesClusterKeys() {
		client, err := s.client()
		if err != nil {
			return oidcIssuer{}, err
		}
		if cluster, err = clusterIssuer(ctx, client); err != nil {
			return oidcIssuer{}, err
		}
	}
	files, err := s.readFiles()
	if err != nil {
		return oidcIssuer{}, err
	}
	found := oidcIssuer{URL: s.issuer, Keys: mergeKeys(keysOf(cluster.Keys, inCluster), files)}
	if found.URL == "" {
		found.URL = cluster.URL
	}
	if found.URL == "" {
		return oidcIssuer{}, errors.New("--public-key needs --issuer, the value of the API server's --service-account-issuer, or --with-cluster to read it from the cluster")
	}
	s.resolveJWKSURI(&found, cluster)
	return found, found.buildSite()
}

// resolveJWKSURI sets the URL of the key set. It adds warnings for an issuer that AWS does
// not accept, and for differences from the cluster's own documents.
func (s *oidcSource) resolveJWKSURI(found *oidcIssuer, cluster issuer.Issuer) {
	below := strings.TrimSuffix(found.URL, "/")
	switch {
	case s.jwksURI != "":
		found.JWKSURI = s.jwksURI
	case strings.HasPrefix(cluster.JWKSURI, below+"/"):
		found.JWKSURI = cluster.JWKSURI
	default:
		found.JWKSURI = below + issuer.JWKSPath
	}
	if cluster.URL != "" && cluster.URL != found.URL {
		found.warn("the cluster signs tokens with the issuer %s, but these documents are for %s", cluster.URL, found.URL)
	}
	if cluster.JWKSURI != "" && cluster.JWKSURI != found.JWKSURI {
		found.warn("the cluster publishes its keys at %s, but these documents name %s", cluster.JWKSURI, found.JWKSURI)
	}
	found.Warnings = append(found.Warnings, provision.IssuerWarnings(found.URL)...)
}

func (i *oidcIssuer) warn(format string, values ...any) {
	i.Warnings = append(i.Warnings, fmt.Sprintf(format, values...))
}

func (i *oidcIssuer) buildSite() error {
	documents, err := issuer.DocumentsOf(i.URL, i.JWKSURI, keySet(i.Keys))
	if err != nil {
		return fmt.Errorf("create the documents: %w", err)
	}
	i.site, err = publish.NewSite(i.URL, i.JWKSURI, documents)
	return err
}

// readFiles returns the keys in the files of --public-key.
func (s *oidcSource) readFiles() ([]oidcKey, error) {
	var keys []oidcKey
	for _, file := range s.publicKeys {
		content, err := os.ReadFile(file) //nolint:gosec // the user names the file
		if err != nil {
			return nil, fmt.Errorf("--public-key: %w", err)
		}
		parsed, err := issuer.ParsePublicKeys(content)
		if err != nil {
			return nil, fmt.Errorf("--public-key %s: %w", file, err)
		}
		set, err := issuer.KeySet(parsed)
		if err != nil {
			return nil, fmt.Errorf("--public-key %s: %w", file, err)
		}
		keys = append(keys, keysOf(set, file)...)
	}
	return keys, nil
}

// clusterIssuer returns the issuer and the keys that the API server publishes.
func clusterIssuer(ctx context.Context, client kubernetes.Interface) (issuer.Issuer, error) {
	discovery, err := raw(ctx, client, issuer.DiscoveryPath)
	if err != nil {
		return issuer.Issuer{}, err
	}
	jwks, err := raw(ctx, client, issuer.JWKSPath)
	if err != nil {
		return issuer.Issuer{}, err
	}
	found, err := issuer.Parse(issuer.Documents{Discovery: discovery, JWKS: jwks})
	if err != nil {
		return issuer.Issuer{}, fmt.Errorf("get the cluster's issuer: %w", err)
	}
	return found, nil
}

// raw reads a document from the API server.
func raw(ctx context.Context, client kubernetes.Interface, path string) ([]byte, error) {
	document, err := client.Discovery().RESTClient().Get().AbsPath(path).DoRaw(ctx)
	if apierrors.IsForbidden(err) {
		return nil, fmt.Errorf("get the cluster's issuer: read %s: %w; bind the ClusterRole system:service-account-issuer-discovery to your user, or pass --public-key and --issuer", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("get the cluster's issuer: read %s: %w", path, err)
	}
	return document, nil
}

func keysOf(set jose.JSONWebKeySet, from string) []oidcKey {
	keys := make([]oidcKey, 0, len(set.Keys))
	for _, key := range set.Keys {
		keys = append(keys, oidcKey{ID: key.KeyID, Algorithm: key.Algorithm, From: from, jwk: key})
	}
	return keys
}

// mergeKeys returns the keys of both lists. A key of both lists occurs once, with both
// sources.
func mergeKeys(keys, more []oidcKey) []oidcKey {
	var all []oidcKey
	at := map[string]int{}
	for _, key := range append(keys, more...) {
		if known, ok := at[key.ID]; ok {
			if all[known].From != key.From {
				all[known].From += ", " + key.From
			}
			continue
		}
		at[key.ID] = len(all)
		all = append(all, key)
	}
	return all
}

func keySet(keys []oidcKey) jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for _, key := range keys {
		set.Keys = append(set.Keys, key.jwk)
	}
	return set
}
