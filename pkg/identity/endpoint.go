package identity

import (
	"net/url"
	"slices"
	"strings"
)

// IsEndpoint says whether s is a URL under which an SDK can reach a service.
func IsEndpoint(s string) bool {
	parsed, err := url.Parse(s)
	return err == nil && (parsed.Scheme == "https" || parsed.Scheme == "http") && parsed.Host != "" &&
		parsed.User == nil && parsed.RawQuery == "" && parsed.Fragment == ""
}

// IsAWSEndpoint reports whether the host of an STS endpoint belongs to AWS, in any
// partition. The empty endpoint is the SDK's default, which is AWS. A VPC endpoint
// (vpce-...) and a FIPS endpoint have the DNS suffix of their partition, too.
func IsAWSEndpoint(endpoint string) bool {
	if endpoint == "" {
		return true
	}
	parsed, err := url.Parse(endpoint)
	if err != nil {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(parsed.Hostname()), ".")
	return slices.ContainsFunc(dnsSuffixes, func(suffix string) bool { return host == suffix || strings.HasSuffix(host, "."+suffix) })
}
