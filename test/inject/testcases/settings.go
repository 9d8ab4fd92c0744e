package testcases

import (
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Settings are those of the webhook that a case asks for. They are comparable,
// so that cases can be grouped by the webhook that they need.
type Settings struct {
	AnnotationPrefix  string `json:"annotationPrefix"`
	Audience          string `json:"audience"`
	ExpirationSeconds int64  `json:"expirationSeconds"`
	MountPath         string `json:"mountPath"`
	FallbackMountPath string `json:"fallbackMountPath"`
	// Region is empty for none.
	Region      string `json:"region"`
	RegionalSTS bool   `json:"regionalSTS"`
	// SessionName and STSEndpoint are empty for none.
	SessionName string `json:"sessionName"`
	STSEndpoint string `json:"stsEndpoint"`
	// AccountID makes ARNs of bare role names, in Partition; empty leaves them as
	// they are.
	AccountID string `json:"accountID"`
	Partition string `json:"partition"`
	// ContainerCredentials says that the case's ServiceAccount is listed to use
	// EKS Pod Identity.
	ContainerCredentials bool `json:"containerCredentials"`
	// Kubernetes is the oldest minor version whose API server stores the case's pod,
	// such as 1.35; empty if each supported one does.
	Kubernetes string `json:"kubernetes"`
}

// Defaults returns what the webhook uses when it is told nothing. They are
// written out here and not taken from the product: they are a contract.
func Defaults() Settings {
	return Settings{
		AnnotationPrefix:  "eks.amazonaws.com",
		Audience:          "sts.amazonaws.com",
		ExpirationSeconds: 86400,
		MountPath:         "/var/run/secrets/eks.amazonaws.com/serviceaccount",
		FallbackMountPath: "/eks.amazonaws.com/serviceaccount",
		Partition:         "aws",
	}
}

// Identity returns the part of s that a ServiceAccount can overrule.
func (s Settings) Identity() identity.Defaults {
	return identity.Defaults{
		AnnotationPrefix:  s.AnnotationPrefix,
		Audience:          s.Audience,
		RegionalSTS:       s.RegionalSTS,
		ExpirationSeconds: s.ExpirationSeconds,
		SessionName:       s.SessionName,
		STSEndpoint:       s.STSEndpoint,
		Account:           s.account(),
	}
}

func (s Settings) account() *identity.Account {
	if s.AccountID == "" {
		return nil
	}
	return &identity.Account{Partition: s.Partition, ID: s.AccountID}
}

// Identity returns that of the case's ServiceAccount. A token for EKS Pod
// Identity lives as long as the settings say; the webhook spreads the default.
func (c *Case) Identity() *identity.Identity {
	id := identity.FromAnnotations(c.ServiceAccount.Annotations, c.Settings.Identity())
	if !c.Settings.ContainerCredentials {
		return id
	}
	return &identity.Identity{
		Method: identity.ContainerCredentials, Audience: "pods.eks.amazonaws.com",
		RegionalSTS: id.RegionalSTS, ExpirationSeconds: id.ExpirationSeconds,
	}
}

// Inject returns the part of s that is the same for all pods.
func (s Settings) Inject() inject.Settings {
	return inject.Settings{
		AnnotationPrefix:  s.AnnotationPrefix,
		MountPath:         s.MountPath,
		FallbackMountPath: s.FallbackMountPath,
		Region:            s.Region,
		ContainerCredentials: inject.ContainerCredentials{ //nolint:gosec // where credentials come from, and none
			FullURI:    "http://169.254.170.23/v1/credentials",
			MountPath:  "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount",
			TokenPath:  "eks-pod-identity-token",
			VolumeName: "eks-pod-identity-token",
		},
	}
}
