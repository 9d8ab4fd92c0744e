package provision

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
)

// FindIssuer returns the issuer that the API server publishes in its discovery document.
func FindIssuer(ctx context.Context, client rest.Interface) (string, error) {
	response, err := client.Get().AbsPath(issuer.DiscoveryPath).DoRaw(ctx)
	switch {
	case apierrors.IsForbidden(err):
		return "", fmt.Errorf("get the cluster's issuer: read %s: %w; bind the ClusterRole system:service-account-issuer-discovery to your user, or pass --issuer", issuer.DiscoveryPath, err)
	case err != nil:
		return "", fmt.Errorf("get the cluster's issuer: read %s: %w; pass --issuer if the cluster does not publish it", issuer.DiscoveryPath, err)
	}
	found, err := issuer.ParseIssuer(response)
	if err != nil {
		return "", fmt.Errorf("get the cluster's issuer: read %s: %w; pass --issuer", issuer.DiscoveryPath, err)
	}
	return found, nil
}

// CheckIssuer returns an error if an issuer is not an http:// or https:// URL with a host.
func CheckIssuer(issuer string) error {
	parsed, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("invalid issuer %q: %w", issuer, err)
	}
	if (parsed.Scheme != "https" && parsed.Scheme != "http") || parsed.Host == "" {
		return fmt.Errorf("invalid issuer %q: not a URL such as https://oidc.example.com/id; pass the claim iss of the cluster's tokens", issuer)
	}
	return nil
}

// maxIssuerLength is IAM's limit in characters
// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html).
const maxIssuerLength = 255

// IssuerWarnings returns the reasons why IAM may reject an issuer, or AWS cannot read it.
// The rules are those of CreateOpenIDConnectProvider's parameter Url. See the page
// https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html
// in the AWS documentation.
func IssuerWarnings(issuer string) []string {
	parsed, err := url.Parse(issuer)
	if err != nil {
		return []string{fmt.Sprintf("issuer %q is not a URL: %v", issuer, err)}
	}
	var warnings []string
	warn := func(text string) { warnings = append(warnings, "issuer "+issuer+" "+text) }
	if parsed.Scheme != "https" {
		warn("does not begin with https://, which IAM requires; change --service-account-issuer of the API server")
	}
	if strings.HasSuffix(issuer, "/") {
		warn("ends with a slash, which is part of the issuer; tokens, the provider and the condition keys of trust policies must all have the slash, or none of them")
	}
	if parsed.Port() != "" {
		warn("has a port, which IAM does not accept; use a URL without a port")
	}
	if parsed.RawQuery != "" || parsed.Fragment != "" {
		warn("has a query or a fragment, which IAM does not accept; use a URL without them")
	}
	if len(issuer) > maxIssuerLength {
		warn(fmt.Sprintf("is longer than %d characters, the limit of IAM; use a shorter URL", maxIssuerLength))
	}
	if IsPrivate(parsed.Hostname()) {
		warn("exists only in private networks, but AWS reads it from the internet; publish the documents that kubectl irsa oidc documents writes, and set --service-account-issuer to their URL")
	}
	return warnings
}

// IsPrivate reports whether a host cannot be reached from the internet, by its address or
// its name.
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

// ClusterName returns a name for the cluster of an issuer. The name is the last part of the
// URL's path, or the first part of its host if there is no path. Unlike the names in
// kubeconfigs, it is the same for all users. It returns "" if the issuer is not a URL.
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
