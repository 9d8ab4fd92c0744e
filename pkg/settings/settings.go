// Package settings has the settings of the webhook on which the injection into a pod
// depends. It has their flags, their validation, and their conversion to the settings of
// the packages identity and inject. The webhook and kubectl irsa explain share them.
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

// Settings are the values of the flags.
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

	// ContainerCredentialsConfig is the path of a file.
	ContainerCredentialsConfig   string
	ContainerCredentialsAudience string
	ContainerCredentials         inject.ContainerCredentials

	RolePolicy string
}

// AddFlags adds the flags with their defaults, bound to s. Flags that
// amazon-eks-pod-identity-webhook also has keep their names and defaults.
func (s *Settings) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&s.AnnotationPrefix, "annotation-prefix", "eks.amazonaws.com", "`Prefix` of the annotations on ServiceAccounts and pods.")
	flags.StringVar(&s.TokenAudience, "token-audience", "sts.amazonaws.com", "`Audience` of the tokens of ServiceAccounts without an audience annotation.")
	flags.Int64Var(&s.TokenExpiration, "token-expiration", 86400, "Lifetime of tokens in `seconds` if neither the ServiceAccount nor the pod has the annotation. At least 600.")
	flags.StringVar(&s.TokenMountPath, "token-mount-path", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "`Directory` of the token in the containers.")
	flags.StringVar(&s.TokenFallbackMountPath, "token-fallback-mount-path", "/eks.amazonaws.com/serviceaccount", "`Directory` of the token in containers in which it cannot be mounted at the usual path. Also used with EKS Pod Identity.")
	flags.StringVar(&s.AWSDefaultRegion, "aws-default-region", "", "`Region` to set in containers that set none. If empty, the webhook sets no region.")
	flags.BoolVar(&s.STSRegionalEndpoint, "sts-regional-endpoint", false, "If true, pods use the STS endpoint of their region, unless the annotation of the ServiceAccount disables it.")
	flags.StringVar(&s.STSEndpoint, "sts-endpoint", "", "`URL` of the STS for ServiceAccounts without an sts-endpoint annotation. If empty, pods use the STS of AWS.")
	flags.StringVar(&s.RoleSessionName, "role-session-name", "", "`Name` of the role session if neither the ServiceAccount nor the pod has the annotation: pod-name for the name of the pod, or a literal. If empty, the SDK chooses one.")

	flags.BoolVar(&s.ComposeRoleARN, "compose-role-arn", false, "If true, convert a role name that is not an ARN to an ARN in the account of --aws-account-id or of this EC2 instance.")
	flags.StringVar(&s.AWSAccountID, "aws-account-id", "", "Account `ID` for --compose-role-arn. If empty, the webhook gets it from the instance metadata service.")
	flags.StringVar(&s.AWSPartition, "aws-partition", "aws", "`Partition` of --aws-account-id.")

	flags.StringVar(&s.ContainerCredentialsConfig, "watch-container-credentials-config", "", "`File` with the list of ServiceAccounts that use EKS Pod Identity. Reloaded when it changes.")
	flags.StringVar(&s.ContainerCredentialsAudience, "container-credentials-audience", "pods.eks.amazonaws.com", "`Audience` of the tokens for EKS Pod Identity.")
	flags.StringVar(&s.ContainerCredentials.MountPath, "container-credentials-token-mount-path", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "`Directory` of the token for EKS Pod Identity in the containers.")
	flags.StringVar(&s.ContainerCredentials.VolumeName, "container-credentials-token-volume-name", "eks-pod-identity-token", "`Name` of the volume of the token for EKS Pod Identity.")
	flags.StringVar(&s.ContainerCredentials.TokenPath, "container-credentials-token-path", "eks-pod-identity-token", "`File` name of the token for EKS Pod Identity in its directory.")
	flags.StringVar(&s.ContainerCredentials.FullURI, "container-credentials-full-uri", "http://169.254.170.23/v1/credentials", "`URL` of the agent that returns credentials for the token for EKS Pod Identity.")

	flags.StringVar(&s.RolePolicy, "role-policy", string(rolepolicy.Off), "`Mode` of the role policy. One of: (off, on, require). With on, pods of a Namespace with a policy annotation can have only the roles that it permits. With require, pods of a Namespace without one can have none.")
}

// Validate returns an error for each invalid value. Each error names its flag.
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

// validateFallback returns an error for each usual path that overlaps the fallback path:
// a mount that blocks one of them would also block the other.
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

// fallbackExamples are fallback paths. The first is the default.
var fallbackExamples = []string{"/eks.amazonaws.com/serviceaccount", "/aws-token/serviceaccount", "/irsa-token/serviceaccount"}

// Account returns the account of the flags, or nil if they have none.
func (s *Settings) Account() *identity.Account {
	if s.AWSAccountID == "" {
		return nil
	}
	return &identity.Account{Partition: s.AWSPartition, ID: s.AWSAccountID}
}

// Defaults returns the settings of package identity. They contain account if role names
// are converted to ARNs.
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

// Rules returns the settings of package lint.
func (s *Settings) Rules() lint.Rules {
	return lint.Rules{Prefix: s.AnnotationPrefix, Composes: s.ComposeRoleARN, STSEndpoint: s.STSEndpoint}
}

// Inject returns the settings of package inject.
func (s *Settings) Inject() inject.Settings {
	return inject.Settings{
		AnnotationPrefix:     s.AnnotationPrefix,
		MountPath:            s.TokenMountPath,
		FallbackMountPath:    s.TokenFallbackMountPath,
		Region:               s.AWSDefaultRegion,
		ContainerCredentials: s.ContainerCredentials,
	}
}
