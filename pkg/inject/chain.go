package inject

import (
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Role chaining needs an AWS configuration file: no variables can say it. The
// text is an annotation of the pod, which the kubelet projects as a file beside
// the token.
const (
	configAnnotation = "eks.amazonaws.com/aws-config"
	configFieldPath  = "metadata.annotations['" + configAnnotation + "']"
	configFile       = "config"
)

// chainConfig returns a configuration whose default profile is the target role,
// assumed with the credentials of the web identity
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html).
func chainConfig(id *identity.Identity, tokenFile, sessionName string) string {
	var text strings.Builder
	set := func(key, value string) {
		if value != "" {
			text.WriteString(key + " = " + value + "\n")
		}
	}
	text.WriteString("[default]\n")
	set("role_arn", id.TargetRoleARN)
	set("source_profile", "web-identity")
	set("external_id", id.TargetExternalID)
	set("role_session_name", sessionName)
	text.WriteString("[profile web-identity]\n")
	set("role_arn", id.RoleARN)
	text.WriteString(tokenFileLine(tokenFile))
	set("role_session_name", sessionName)
	return text.String()
}

// tokenFileLine returns the line of a configuration that names the file of the token.
func tokenFileLine(tokenFile string) string { return "web_identity_token_file = " + tokenFile + "\n" }

// addConfig puts the configuration into the pod's annotations. One that is there
// already is the user's, or ours from a call before.
func (p *patchBuilder) addConfig() {
	if p.credentialSpec.config == "" {
		return
	}
	annotations := p.pod.Metadata.Annotations
	existing, ok := annotations[configAnnotation]
	switch {
	case !ok:
		p.patch.addEntry("/metadata/annotations", annotations == nil, configAnnotation, p.credentialSpec.config)
	case existing != p.credentialSpec.config:
		p.warn(ConfigKept, "pod annotation %s is not what the ServiceAccount asks for: it is kept", configAnnotation)
	}
}
