package testcases

import (
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// Settings are the webhook's settings of a case. They are comparable, so that tests can
// group cases that can share a webhook.
type Settings struct {
	AnnotationPrefix  string `json:"annotationPrefix"`
	Audience          string `json:"audience"`
	ExpirationSeconds int64  `json:"expirationSeconds"`
	MountPath         string `json:"mountPath"`
	FallbackMountPath string `json:"fallbackMountPath"`
	// Region is the AWS region; empty for none.
	Region      string `json:"region"`
	RegionalSTS bool   `json:"regionalSTS"`
	// SessionName and STSEndpoint may be empty.
	SessionName string `json:"sessionName"`
	STSEndpoint string `json:"stsEndpoint"`
	// AccountID is the account, and Partition the partition, of the ARNs for bare role
	// names; if AccountID is empty, the names do not change.
	AccountID string `json:"accountID"`
	Partition string `json:"partition"`
	// ContainerCredentials is true if the case's ServiceAccount is in the list for EKS
	// Pod Identity.
	ContainerCredentials bool `json:"containerCredentials"`
	// Kubernetes is the oldest minor version whose API server stores the pod, such as
	// 1.35; empty if all supported versions do.
	Kubernetes string `json:"kubernetes"`
}

// Defaults returns the webhook's defaults. They are literals here, not the webhook's
// constants, so that a change of a default fails the tests.
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

// Identity returns the settings that a ServiceAccount can override.
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

// Identity returns the identity of the case's ServiceAccount. A token for EKS Pod Identity
// has the lifetime of the settings; the webhook varies the default.
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

// Inject returns the settings that are the same for all pods.
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
