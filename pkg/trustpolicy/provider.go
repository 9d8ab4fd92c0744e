package trustpolicy

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

const oidcProvider = ":oidc-provider/"

// providers matches the ARNs of OIDC providers. Those of IAM have no port, but that of a
// local cluster has one.
var providers = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:oidc-provider/[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~%+=@-]+)*/?$`)

var (
	partitions = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountIDs = regexp.MustCompile(`^\d{12}$`)
)

// ProviderARN returns the ARN of an issuer's OIDC provider, which contains the issuer's
// URL without the scheme. It returns an error if an argument is invalid.
//
// If the issuer ends in a slash, so does the ARN, and condition keys have the slash before
// the colon. AWS does not document this, but users of Auth0, whose issuers end in a slash,
// report it.
func ProviderARN(partition, account, issuerURL string) (string, error) {
	if !partitions.MatchString(partition) {
		return "", fmt.Errorf("invalid partition %q; examples are aws, aws-cn and aws-us-gov", partition)
	}
	if !accountIDs.MatchString(account) {
		return "", fmt.Errorf("invalid account ID %q: must have 12 digits", account)
	}
	parsed, err := url.Parse(issuerURL)
	// url.Parse treats HTTPS:// as https://, so two URLs would have the same ARN.
	if err != nil || !strings.HasPrefix(issuerURL, "https://") || parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return "", fmt.Errorf("invalid issuer %q: IAM requires a URL that begins with https:// and has no user, query or fragment", issuerURL)
	}
	arn := "arn:" + partition + ":iam::" + account + oidcProvider + issuerURL[len("https://"):]
	if !providers.MatchString(arn) {
		return "", fmt.Errorf("invalid issuer %q: the URL has characters that an ARN cannot have", issuerURL)
	}
	return arn, nil
}

// IssuerOf returns the issuer in the ARN of an OIDC provider, which is the issuer's URL
// without the scheme. Condition keys begin with it. It returns "" for any other ARN.
func IssuerOf(providerARN string) string {
	_, issuer, _ := strings.Cut(providerARN, oidcProvider)
	return issuer
}
