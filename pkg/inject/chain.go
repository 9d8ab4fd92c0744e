package inject

import (
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Role chaining needs an AWS configuration file, because environment variables cannot
// configure it. The text is an annotation of the pod, which the kubelet projects into a
// file next to the token.
const (
	configAnnotation = "eks.amazonaws.com/aws-config"
	configFieldPath  = "metadata.annotations['" + configAnnotation + "']"
	configFile       = "config"
)

// chainConfig returns an AWS configuration whose default profile assumes the target role
// with the credentials of the web identity. See the page
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-assume-role-credentials.html
// in the AWS documentation.
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

// tokenFileLine returns the line of a configuration with the path of the token.
func tokenFileLine(tokenFile string) string { return "web_identity_token_file = " + tokenFile + "\n" }

// addConfig adds the configuration to the pod's annotations. It keeps an existing one,
// which is from the user or from an earlier call of the webhook.
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
		p.warn(ConfigKept, "pod annotation %s differs from the webhook's configuration; it is kept", configAnnotation)
	}
}
