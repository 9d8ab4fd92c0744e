package provision

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
)

// discoveryPath is where an API server, too, tells its issuer
// (OpenID Connect Discovery 1.0, section 4; KEP-1393).
const discoveryPath = "/.well-known/openid-configuration"

// FindIssuer asks an API server which issuer its tokens name.
func FindIssuer(ctx context.Context, client rest.Interface) (string, error) {
	answer, err := client.Get().AbsPath(discoveryPath).DoRaw(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("find the cluster's issuer: read %s: %w: bind the ClusterRole system:service-account-issuer-discovery to yourself, or give --issuer", discoveryPath, err)
	case err != nil:
		return "", fmt.Errorf("find the cluster's issuer: read %s: %w: give --issuer, if the cluster does not publish it", discoveryPath, err)
	}
	var document struct {
		Issuer string `json:"issuer"`
	}
	if err := json.Unmarshal(answer, &document); err != nil {
		return "", fmt.Errorf("find the cluster's issuer: %s is no JSON: %w: give --issuer", discoveryPath, err)
	}
	if document.Issuer == "" {
		return "", fmt.Errorf("find the cluster's issuer: %s names none: give --issuer", discoveryPath)
	}
	return document.Issuer, nil
}

// CheckIssuer returns an error if an issuer is no URL of an issuer at all.
func CheckIssuer(issuer string) error {
	parsed, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("issuer %q: %w", issuer, err)
	}
	if (parsed.Scheme != "https" && parsed.Scheme != "http") || parsed.Host == "" {
		return fmt.Errorf("issuer %q is no URL such as https://oidc.example.com/id: give it as the iss of the cluster's tokens has it", issuer)
	}
	return nil
}

// maxIssuerLength is IAM's limit
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html).
const maxIssuerLength = 255

// IssuerWarnings says why IAM may refuse an issuer, or AWS never be able to read it.
// The rules are those of CreateOpenIDConnectProvider's parameter Url
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html).
func IssuerWarnings(issuer string) []string {
	parsed, err := url.Parse(issuer)
	if err != nil {
		return []string{fmt.Sprintf("issuer %q is no URL: %v", issuer, err)}
	}
	var concerns []string
	concern := func(text string) { concerns = append(concerns, "issuer "+issuer+" "+text) }
	if parsed.Scheme != "https" {
		concern("does not begin with https://: IAM accepts nothing else; change --service-account-issuer of the API server")
	}
	if strings.HasSuffix(issuer, "/") {
		concern("ends with a slash, which is a part of it: tokens, the provider and the keys of trust policies must all have it, or none")
	}
	if parsed.Port() != "" {
		concern("has a port: IAM wants a URL without one")
	}
	if parsed.RawQuery != "" || parsed.Fragment != "" {
		concern("has a query or a fragment: IAM permits neither")
	}
	if len(issuer) > maxIssuerLength {
		concern(fmt.Sprintf("is longer than %d characters, IAM's limit", maxIssuerLength))
	}
	if IsPrivate(parsed.Hostname()) {
		concern("is known in private networks alone: AWS reads it from the internet; publish the documents that kubectl irsa oidc documents writes, and set --service-account-issuer to their place")
	}
	return concerns
}

// IsPrivate says whether a host cannot be meant for the internet.
func IsPrivate(host string) bool {
	if address, err := netip.ParseAddr(host); err == nil {
		return address.IsPrivate() || address.IsLoopback() || address.IsLinkLocalUnicast() || address.IsUnspecified()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if !strings.Contains(host, ".") {
		return true
	}
	// RFC 6761 and 6762, ICANN's .internal, and the names of Services.
	for _, suffix := range []string{".local", ".localhost", ".internal", ".svc", ".test", ".invalid"} {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return false
}

// ClusterName derives from an issuer what a person may call its cluster. Unlike
// the names in kubeconfigs, it is the same for everybody: the last part of the
// path, or the first of the host where there is no path.
func ClusterName(issuer string) string {
	parsed, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	path := strings.Split(strings.Trim(parsed.Path, "/"), "/")
	if last := path[len(path)-1]; last != "" {
		return sanitize(last)
	}
	host := parsed.Hostname()
	if _, err := netip.ParseAddr(host); err == nil {
		return sanitize(host)
	}
	first, _, _ := strings.Cut(host, ".")
	return sanitize(first)
}
