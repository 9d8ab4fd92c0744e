package settings

import (
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// requirement is a requirement on the value of a flag.
type requirement struct {
	flag, value string
	met         bool
	// want completes the sentence "it must be", and ends with a valid value.
	want string
}

// requirements returns the requirements on all flags with a text value. With a value that
// does not meet its requirement, no pod would be injected, or pods could not be created or
// started.
func (s *Settings) requirements() []requirement {
	const (
		wantAudience  = "one audience without spaces and commas, such as "
		wantMountPath = "an absolute path without '..' and ':' that neither images nor Kubernetes use, such as "
	)
	credentials := &s.ContainerCredentials
	return []requirement{
		{
			"annotation-prefix", s.AnnotationPrefix, len(validation.IsDNS1123Subdomain(s.AnnotationPrefix)) == 0,
			"a DNS name in lower case without a slash, such as eks.amazonaws.com",
		},
		{"token-audience", s.TokenAudience, isAudience(s.TokenAudience), wantAudience + "sts.amazonaws.com"},
		{"container-credentials-audience", s.ContainerCredentialsAudience, isAudience(s.ContainerCredentialsAudience), wantAudience + "pods.eks.amazonaws.com"},
		{
			"token-fallback-mount-path", s.TokenFallbackMountPath, isMountPath(s.TokenFallbackMountPath),
			wantMountPath + "/eks.amazonaws.com/serviceaccount",
		},
		{"token-mount-path", s.TokenMountPath, isMountPath(s.TokenMountPath), wantMountPath + "/var/run/secrets/eks.amazonaws.com/serviceaccount"},
		{
			"container-credentials-token-mount-path", credentials.MountPath, isMountPath(credentials.MountPath),
			wantMountPath + "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
		},
		{
			"container-credentials-token-volume-name", credentials.VolumeName, len(validation.IsDNS1123Label(credentials.VolumeName)) == 0,
			"the name of a volume: at most 63 lowercase letters, digits and hyphens, such as eks-pod-identity-token",
		},
		{
			"container-credentials-token-path", credentials.TokenPath, isPathInVolume(credentials.TokenPath),
			"a relative path without '..' and ':', such as eks-pod-identity-token",
		},
		{"aws-default-region", s.AWSDefaultRegion, s.AWSDefaultRegion == "" || isRegion(s.AWSDefaultRegion), "a region in lower case, such as eu-west-1"},
		{
			"sts-endpoint", s.STSEndpoint, s.STSEndpoint == "" || identity.IsEndpoint(s.STSEndpoint),
			"a URL without user, query and fragment, such as https://sts.eu-west-1.amazonaws.com",
		},
		{
			"container-credentials-full-uri", credentials.FullURI, isAgent(credentials.FullURI),
			"a URL that AWS SDKs accept, which is https, or http of a loopback address or of a known agent, such as http://169.254.170.23/v1/credentials",
		},
		{
			"role-session-name", s.RoleSessionName, s.RoleSessionName == "" || identity.IsSessionName(s.RoleSessionName),
			"2 to 64 letters, digits, or any of _+=,.@-, such as pod-name",
		},
	}
}

// isAudience reports whether s can be the one audience of a token.
func isAudience(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r == ',' || unicode.IsSpace(r) || unicode.IsControl(r) })
}

// apiTokenPaths are the paths of the token for the Kubernetes API, with both names that
// the directory has in most images.
var apiTokenPaths = []string{"/var/run/secrets/kubernetes.io/serviceaccount", "/run/secrets/kubernetes.io/serviceaccount"}

// imageDirectories are directories that a container needs to start or to work. A mount hides
// the files in its directory.
var imageDirectories = []string{
	"/bin", "/etc", "/home", "/lib", "/lib32", "/lib64", "/opt", "/root", "/sbin", "/tmp",
	"/usr", "/usr/bin", "/usr/lib", "/usr/lib64", "/usr/local", "/usr/local/bin", "/usr/sbin", "/usr/share", "/var/lib", "/var/tmp",
}

// kernelDirectories are file systems of the kernel. Container runtimes cannot mount in them.
var kernelDirectories = []string{"/dev", "/proc", "/sys"}

// The API server refuses a mount path with a colon.
var absolutePath = regexp.MustCompile(`^(/+[\w.@%+=~-]+)+/*$`)

// isMountPath reports whether the token can be mounted at p in any container.
func isMountPath(p string) bool {
	clean := path.Clean(p)
	below := func(parent string) bool { return clean == parent || strings.HasPrefix(clean, parent+"/") }
	return absolutePath.MatchString(p) && !slices.Contains(strings.Split(p, "/"), "..") && clean != "/" &&
		!slices.Contains(imageDirectories, clean) && !slices.ContainsFunc(kernelDirectories, below) &&
		!slices.ContainsFunc(apiTokenPaths, func(used string) bool { return below(used) || strings.HasPrefix(used, clean+"/") })
}

// overlap reports whether two directories are the same, or one is inside the other.
// Most images have /var/run as a symbolic link to /run.
func overlap(a, b string) bool {
	resolve := func(p string) string {
		p = path.Clean(p) + "/"
		if strings.HasPrefix(p, "/var/run/") {
			return strings.TrimPrefix(p, "/var")
		}
		return p
	}
	a, b = resolve(a), resolve(b)
	return strings.HasPrefix(a, b) || strings.HasPrefix(b, a)
}

// The API server rejects a path in a projected volume if the path is absolute, begins
// with two dots, or has them as an element. See validateLocalNonReservedPath in the
// package k8s.io/kubernetes/pkg/apis/core/validation for the rules.
var pathInVolume = regexp.MustCompile(`^[\w.@%+=~-]+(/[\w.@%+=~-]+)*$`)

// isPathInVolume reports whether a projected volume can have a file p.
func isPathInVolume(p string) bool {
	return pathInVolume.MatchString(p) && path.Clean(p) == p && p != "." && !strings.HasPrefix(p, "..")
}

var (
	// AWS SDKs make a region part of a host name, and refuse it otherwise.
	region = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	// availabilityZone is what is most often mistaken for a region.
	availabilityZone = regexp.MustCompile(`^[a-z]+(-[a-z]+)+-\d+[a-z]$`)
)

// isRegion reports whether s can be a region, of AWS or of another store.
func isRegion(s string) bool { return region.MatchString(s) && !availabilityZone.MatchString(s) }

// agents are addresses that AWS SDKs send requests to over plain HTTP, in addition to
// loopback addresses
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html).
var agents = []string{"169.254.170.2", "169.254.170.23", "fd00:ec2::23"}

// isAgent reports whether AWS SDKs may get credentials from a URL. What a host name
// stands for in a pod is not known here.
func isAgent(s string) bool {
	if !identity.IsEndpoint(s) {
		return false
	}
	parsed, err := url.Parse(s)
	if err != nil || parsed.Scheme == "https" {
		return err == nil
	}
	address, err := netip.ParseAddr(parsed.Hostname())
	return err != nil || address.IsLoopback() || slices.Contains(agents, address.String())
}
