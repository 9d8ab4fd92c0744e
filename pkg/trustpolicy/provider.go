package trustpolicy

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

const oidcProvider = ":oidc-provider/"

// providers are ARNs of OIDC providers. IAM's have no port; that of a cluster on
// a laptop has one.
var providers = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:oidc-provider/[A-Za-z0-9._:\[\]-]+(/[A-Za-z0-9._~%+=@-]+)*/?$`)

var (
	partitions = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountIDs = regexp.MustCompile(`^\d{12}$`)
)

// ProviderARN returns the ARN that IAM gives to the OIDC provider of an issuer:
// its URL without the scheme. A slash at the end of the issuer is one at the end
// of the ARN, and is before the colon in condition keys, as users of Auth0, whose
// issuers end so, show: it is not in AWS's documents.
func ProviderARN(partition, account, issuerURL string) (string, error) {
	if !partitions.MatchString(partition) {
		return "", fmt.Errorf("partition %q: aws, aws-cn, aws-us-gov or the like", partition)
	}
	if !accountIDs.MatchString(account) {
		return "", fmt.Errorf("account %q: 12 digits", account)
	}
	parsed, err := url.Parse(issuerURL)
	// url.Parse takes HTTPS:// for the same, and two URLs would then have one ARN.
	if err != nil || !strings.HasPrefix(issuerURL, "https://") || parsed.Host == "" || parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return "", fmt.Errorf("issuer %q: IAM wants a URL that begins with https:// and has no query", issuerURL)
	}
	arn := "arn:" + partition + ":iam::" + account + oidcProvider + issuerURL[len("https://"):]
	if !providers.MatchString(arn) {
		return "", fmt.Errorf("issuer %q: its URL has characters that an ARN does not take", issuerURL)
	}
	return arn, nil
}

// IssuerOf returns the issuer of an OIDC provider's ARN as condition keys begin
// with it: its URL without the scheme. It is "" for another ARN.
func IssuerOf(providerARN string) string {
	_, issuer, _ := strings.Cut(providerARN, oidcProvider)
	return issuer
}
