package main

import (
	"crypto/tls"
	"fmt"
	"strings"
)

// tlsVersions are the values of --tls-min-version, as in amazon-eks-pod-identity-webhook.
var tlsVersions = map[string]uint16{
	"1.0": tls.VersionTLS10, "VersionTLS10": tls.VersionTLS10,
	"1.1": tls.VersionTLS11, "VersionTLS11": tls.VersionTLS11,
	"1.2": tls.VersionTLS12, "VersionTLS12": tls.VersionTLS12,
	"1.3": tls.VersionTLS13, "VersionTLS13": tls.VersionTLS13,
}

// parseTLSVersion returns the TLS version for a value of --tls-min-version. It returns an
// error if there is none.
func parseTLSVersion(name string) (uint16, error) {
	version, ok := tlsVersions[name]
	if !ok {
		return 0, fmt.Errorf("--tls-min-version is %q: must be one of 1.0, 1.1, 1.2, 1.3, or VersionTLS10 and so on", name)
	}
	return version, nil
}

// parseCipherSuites returns the IDs of the cipher suites in --tls-cipher-suites, nil for
// Go's default. They apply to TLS 1.2 and below; those of TLS 1.3 cannot be configured. It
// returns an error if a name is unknown.
func parseCipherSuites(names []string) ([]uint16, error) {
	known := map[string]uint16{}
	for _, suites := range [][]*tls.CipherSuite{tls.CipherSuites(), tls.InsecureCipherSuites()} {
		for _, suite := range suites {
			known[suite.Name] = suite.ID
		}
	}
	var ids []uint16
	for _, name := range names {
		id, ok := known[strings.TrimSpace(name)]
		if !ok {
			return nil, fmt.Errorf("--tls-cipher-suites has unknown name %q: use names of Go's crypto/tls, such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}
