// Package settings owns those settings of the webhook that decide what a pod is
// given: their flags, whose names and defaults are a contract, what they may be,
// and what they are to the packages identity and inject. The webhook has them, and
// so has whoever wants to know what it would do.
package settings

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// Settings are what the flags say.
type Settings struct {
	AnnotationPrefix string
	TokenAudience    string
	// TokenExpiration is in seconds.
	TokenExpiration int64
	TokenMountPath  string
	// TokenFallbackMountPath is for containers that cannot have the token at the usual path.
	TokenFallbackMountPath string
	AWSDefaultRegion       string
	STSRegionalEndpoint    bool
	STSEndpoint            string
	RoleSessionName        string

	ComposeRoleARN             bool
	AWSAccountID, AWSPartition string

	// ContainerCredentialsConfig is a file.
	ContainerCredentialsConfig   string
	ContainerCredentialsAudience string
	ContainerCredentials         inject.ContainerCredentials

	RolePolicy string
}

// AddFlags adds the flags with their defaults, bound to s. The names and defaults
// of those that amazon-eks-pod-identity-webhook has are its own.
func (s *Settings) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.AnnotationPrefix, "annotation-prefix", "eks.amazonaws.com", "`prefix` of the annotations on ServiceAccounts and pods")
	flags.StringVar(&s.TokenAudience, "token-audience", "sts.amazonaws.com", "`audience` of tokens whose ServiceAccount names none")
	flags.Int64Var(&s.TokenExpiration, "token-expiration", 86400, "lifetime of tokens in `seconds` where neither ServiceAccount nor pod names one; at least 600")
	flags.StringVar(&s.TokenMountPath, "token-mount-path", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "`directory` of the token in the containers")
	flags.StringVar(&s.TokenFallbackMountPath, "token-fallback-mount-path", "/eks.amazonaws.com/serviceaccount", "`directory` of the token in containers in which it cannot be mounted at the usual path, also with EKS Pod Identity")
	flags.StringVar(&s.AWSDefaultRegion, "aws-default-region", "", "`region` for containers that set none; empty to set none")
	flags.BoolVar(&s.STSRegionalEndpoint, "sts-regional-endpoint", false, "use the STS endpoint of the region where the ServiceAccount does not say")
	flags.StringVar(&s.STSEndpoint, "sts-endpoint", "", "`URL` of the STS to use where the ServiceAccount names none; empty for AWS's")
	flags.StringVar(&s.RoleSessionName, "role-session-name", "", "`name` of the role session where neither ServiceAccount nor pod gives one: pod-name for the pod's, or a literal; empty to leave it to the SDK")

	flags.BoolVar(&s.ComposeRoleARN, "compose-role-arn", false, "make an ARN of a bare role name, in the account of this EC2 instance or of --aws-account-id")
	flags.StringVar(&s.AWSAccountID, "aws-account-id", "", "account `id` for --compose-role-arn; empty to ask the instance metadata service")
	flags.StringVar(&s.AWSPartition, "aws-partition", "aws", "`partition` that goes with --aws-account-id")

	flags.StringVar(&s.ContainerCredentialsConfig, "watch-container-credentials-config", "", "`file` that lists the ServiceAccounts which use EKS Pod Identity, read again when it changes")
	flags.StringVar(&s.ContainerCredentialsAudience, "container-credentials-audience", "pods.eks.amazonaws.com", "`audience` of their tokens")
	flags.StringVar(&s.ContainerCredentials.MountPath, "container-credentials-token-mount-path", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "`directory` of their token in the containers")
	flags.StringVar(&s.ContainerCredentials.VolumeName, "container-credentials-token-volume-name", "eks-pod-identity-token", "`name` of their token's volume")
	flags.StringVar(&s.ContainerCredentials.TokenPath, "container-credentials-token-path", "eks-pod-identity-token", "`file` of their token in its directory")
	flags.StringVar(&s.ContainerCredentials.FullURI, "container-credentials-full-uri", "http://169.254.170.23/v1/credentials", "`URL` of the agent that gives credentials for it")

	flags.StringVar(&s.RolePolicy, "role-policy", string(rolepolicy.Off), "who may use which role: `off`; on holds a namespace to the roles that its annotation permits; require permits none without one")
}

// Validate returns all mistakes, each by the name of its flag.
func (s *Settings) Validate() []error {
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	for _, r := range s.requirements() {
		if !r.met {
			wrong("--%s is %q: it must be %s", r.flag, r.value, r.want)
		}
	}
	mistakes = append(mistakes, s.validateFallback()...)
	if s.TokenExpiration > token.MaxExpirationSeconds {
		wrong("--token-expiration is %d: it must be at most %d seconds, such as 86400", s.TokenExpiration, token.MaxExpirationSeconds)
	}
	if account := s.Account(); account != nil {
		if err := account.Validate(); err != nil {
			wrong("--aws-account-id, --aws-partition: %w", err)
		}
	}
	if _, err := rolepolicy.ParseMode(s.RolePolicy); err != nil {
		wrong("--role-policy: %w", err)
	}
	return mistakes
}

// validateFallback returns an error for each usual path that the fallback path
// overlaps: what keeps the token from the one would keep it from the other.
func (s *Settings) validateFallback() []error {
	usual := map[string]string{"token-mount-path": s.TokenMountPath}
	if s.ContainerCredentialsConfig != "" {
		usual["container-credentials-token-mount-path"] = s.ContainerCredentials.MountPath
	}
	overlaps := func(fallback, usual string) bool {
		return isMountPath(fallback) && isMountPath(usual) && overlap(fallback, usual)
	}
	var mistakes []error
	for _, flag := range slices.Sorted(maps.Keys(usual)) {
		if !overlaps(s.TokenFallbackMountPath, usual[flag]) {
			continue
		}
		// Two usual paths overlap at most two of these.
		example := slices.IndexFunc(fallbackExamples, func(example string) bool {
			return !slices.ContainsFunc(slices.Collect(maps.Values(usual)), func(p string) bool { return overlaps(example, p) })
		})
		mistakes = append(mistakes, fmt.Errorf("--token-fallback-mount-path is %q: it must not be, contain or be inside --%s, which is %q; use another directory, such as %s",
			s.TokenFallbackMountPath, flag, usual[flag], fallbackExamples[example]))
	}
	return mistakes
}

// fallbackExamples are fallback paths, the default first.
var fallbackExamples = []string{"/eks.amazonaws.com/serviceaccount", "/aws-token/serviceaccount", "/irsa-token/serviceaccount"}

// Account is the one that the flags name, nil for none.
func (s *Settings) Account() *identity.Account {
	if s.AWSAccountID == "" {
		return nil
	}
	return &identity.Account{Partition: s.AWSPartition, ID: s.AWSAccountID}
}

// Defaults are what package identity needs. account is used if role names are to
// be made ARNs.
func (s *Settings) Defaults(account *identity.Account) identity.Defaults {
	defaults := identity.Defaults{
		AnnotationPrefix:  s.AnnotationPrefix,
		Audience:          s.TokenAudience,
		RegionalSTS:       s.STSRegionalEndpoint,
		ExpirationSeconds: token.ClampExpiration(s.TokenExpiration),
		SessionName:       s.RoleSessionName,
		STSEndpoint:       s.STSEndpoint,
	}
	if s.ComposeRoleARN {
		defaults.Account = account
	}
	return defaults
}

// Rules are what package lint needs.
func (s *Settings) Rules() lint.Rules {
	return lint.Rules{Prefix: s.AnnotationPrefix, Composes: s.ComposeRoleARN, STSEndpoint: s.STSEndpoint}
}

// Inject are what package inject needs.
func (s *Settings) Inject() inject.Settings {
	return inject.Settings{
		AnnotationPrefix:     s.AnnotationPrefix,
		MountPath:            s.TokenMountPath,
		FallbackMountPath:    s.TokenFallbackMountPath,
		Region:               s.AWSDefaultRegion,
		ContainerCredentials: s.ContainerCredentials,
	}
}
