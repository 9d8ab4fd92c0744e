package identity

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// hostName matches names of letters, digits, hyphens, dots and underscores. Names of some
// containers have underscores.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// IsEndpoint reports whether s is an http or https URL that an SDK can use as an endpoint.
func IsEndpoint(s string) bool {
	parsed, err := url.Parse(s)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" ||
		parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return false
	}
	if port := parsed.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	host := parsed.Hostname()
	_, err = netip.ParseAddr(host)
	return err == nil || hostName.MatchString(host)
}

// IsAWSEndpoint reports whether the host of an STS endpoint belongs to AWS, in any
// partition. The empty endpoint is the SDK's default, which is AWS. A VPC endpoint
// (vpce-...) and a FIPS endpoint also have the DNS suffix of their partition.
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
