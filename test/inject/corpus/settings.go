package corpus

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
	// Region is empty for none.
	Region      string `json:"region"`
	RegionalSTS bool   `json:"regionalSTS"`
}

// Defaults returns what the webhook uses when it is told nothing. They are
// written out here and not taken from the product: they are a contract.
func Defaults() Settings {
	return Settings{
		AnnotationPrefix:  "eks.amazonaws.com",
		Audience:          "sts.amazonaws.com",
		ExpirationSeconds: 86400,
		MountPath:         "/var/run/secrets/eks.amazonaws.com/serviceaccount",
	}
}

// Identity returns the part of s that a ServiceAccount can overrule.
func (s Settings) Identity() identity.Defaults {
	return identity.Defaults{
		AnnotationPrefix:  s.AnnotationPrefix,
		Audience:          s.Audience,
		RegionalSTS:       s.RegionalSTS,
		ExpirationSeconds: s.ExpirationSeconds,
	}
}

// Inject returns the part of s that is the same for all pods.
func (s Settings) Inject() inject.Settings {
	return inject.Settings{
		AnnotationPrefix: s.AnnotationPrefix,
		MountPath:        s.MountPath,
		Region:           s.Region,
	}
}
