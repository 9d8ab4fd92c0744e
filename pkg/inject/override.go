package inject

import (
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Further variables of a container that decide which credentials an AWS SDK uses, or
// where it looks for STS.
const (
	envAccessKeyID            = "AWS_ACCESS_KEY_ID"
	envSecretAccessKey        = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // the name of a variable, no credential
	envSessionToken           = "AWS_SESSION_TOKEN"     //nolint:gosec // the name of a variable, no credential
	envAccessKey              = "AWS_ACCESS_KEY"
	envSecretKey              = "AWS_SECRET_KEY"              //nolint:gosec // the name of a variable, no credential
	envSharedCredentialsFile  = "AWS_SHARED_CREDENTIALS_FILE" //nolint:gosec // the name of a variable, no credential
	envEndpoint               = "AWS_ENDPOINT_URL"
	envIgnoreEndpoints        = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
	envContainerRelativeURI   = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	regionalSTS, legacySTS    = "regional", "legacy"
	removeVariable            = "remove it"
	effectKeys, effectProfile = "SDKs use these keys instead of the role", "some SDKs fail if the profile does not exist"
)

// Override is a variable of a container that keeps AWS SDKs from using the identity
// that the webhook injects. The test of the SDKs (test/sdks) holds the list to what SDKs
// do.
type Override struct {
	// Variable is its name. Its value may be a secret, and is never shown.
	Variable string
	// Certain says that all SDKs are kept from it, not only some, or in some cases.
	Certain bool
	// Effect is a clause that says what SDKs do, Fix an imperative.
	Effect, Fix string
}

// String returns the override as the end of a sentence that begins with "sets".
func (o Override) String() string { return o.Variable + ": " + o.Effect + "; " + o.Fix }

// IsKeyVariable reports whether a variable is a part of access keys, which all SDKs
// look for before anything else
// (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
func IsKeyVariable(name string) bool {
	return name == envAccessKeyID || name == envSecretAccessKey || name == envSessionToken
}

// IsProfileVariable reports whether a variable names a profile, which some SDKs fail
// without, even if the name is empty.
func IsProfileVariable(name string) bool { return name == envProfile || name == envDefaultProfile }

// Environment is what is known of the variables of a container.
type Environment struct {
	Variables Env
	// Open says that there may be others: envFrom names a Secret or a ConfigMap, whose
	// keys a pod does not show. Nothing is concluded from the absence of a variable.
	Open bool
}

// last returns the variable of a name that a process sees: the last one.
func (e Environment) last(name string) (v EnvVar, ok bool) {
	for _, variable := range slices.Backward(e.Variables) {
		if variable.Name == name {
			return variable, true
		}
	}
	return EnvVar{}, false
}

// sets reports whether a variable is set, and not to an empty value as far as is known.
func (e Environment) sets(name string) bool {
	v, ok := e.last(name)
	return ok && (v.Value != "" || v.FromElsewhere)
}

// setsEmpty reports whether a variable is known to be set to an empty value.
func (e Environment) setsEmpty(name string) bool {
	v, ok := e.last(name)
	return ok && v.Value == "" && !v.FromElsewhere
}

// isTrue reports whether a boolean variable is known to be true.
func (e Environment) isTrue(name string) bool {
	v, _ := e.last(name)
	return strings.EqualFold(v.Value, "true")
}

// Overrides returns the variables of a container's environment that keep AWS SDKs from
// an identity that the container has otherwise.
func Overrides(e Environment, id *identity.Identity) []Override {
	if len(e.Variables) == 0 {
		return nil
	}
	overrides := e.otherCredentials(id)
	if id.Method == identity.ContainerCredentials {
		return append(overrides, e.otherAgents()...)
	}
	return append(overrides, e.otherSTS(id)...)
}

// otherCredentials returns the variables of credentials that SDKs look for before, or
// beside, both a web identity and an agent.
func (e Environment) otherCredentials(id *identity.Identity) []Override {
	var overrides []Override
	switch secret := e.sets(envSecretAccessKey); {
	case e.sets(envAccessKeyID) && secret:
		overrides = append(overrides, Override{envAccessKeyID, true, effectKeys, removeVariable})
	case e.sets(envAccessKeyID) && e.Open:
		overrides = append(overrides, Override{envAccessKeyID, false, effectKeys, removeVariable})
	case e.sets(envAccessKeyID):
		overrides = append(overrides, Override{envAccessKeyID, false, "some SDKs fail without a secret key", removeVariable})
	case secret && e.Open:
		overrides = append(overrides, Override{envSecretAccessKey, false, effectKeys, removeVariable})
	case e.sets(envAccessKey) && e.sets(envSecretKey):
		// Names of old; the SDKs for Go read them still.
		overrides = append(overrides, Override{envAccessKey, false, "some " + effectKeys, removeVariable})
	}
	for _, name := range [...]string{envProfile, envDefaultProfile} {
		// To some SDKs, an empty name is that of a profile.
		if _, ok := e.last(name); ok {
			overrides = append(overrides, Override{name, false, effectProfile, removeVariable})
		}
	}
	if e.sets(envSharedCredentialsFile) {
		overrides = append(overrides, Override{envSharedCredentialsFile, false, "some SDKs prefer credentials in it to the role", removeVariable})
	}
	// With role chaining, the identity itself is in such a file.
	if e.sets(envConfigFile) && id.TargetRoleARN == "" {
		overrides = append(overrides, Override{envConfigFile, false, "some SDKs prefer credentials in it to the role", "check the file"})
	}
	return overrides
}

// otherAgents returns the variables that lead SDKs past the agent of EKS Pod Identity.
func (e Environment) otherAgents() []Override {
	var overrides []Override
	if e.sets(envWebIdentityTokenFile) {
		overrides = append(overrides, Override{envWebIdentityTokenFile, e.sets(envRoleARN), "SDKs use a web identity before the agent", removeVariable})
	}
	// Some SDKs ask whether it is set, and not whether it is empty.
	if _, ok := e.last(envContainerRelativeURI); ok {
		overrides = append(overrides, Override{envContainerRelativeURI, false, "most SDKs use it before the agent's URL", removeVariable})
	}
	return overrides
}

// otherSTS returns the variables with which SDKs find no STS that takes the token, or
// ask it for what it does not take.
func (e Environment) otherSTS(id *identity.Identity) []Override {
	var overrides []Override
	switch ignore := e.isTrue(envIgnoreEndpoints); {
	case id.STSEndpoint != "" && ignore:
		overrides = append(overrides, Override{envIgnoreEndpoints, false, "SDKs do not use the sts-endpoint", removeVariable})
	case id.STSEndpoint != "" && e.setsEmpty(envSTSEndpoint):
		overrides = append(overrides, Override{envSTSEndpoint, true, "it is empty, so the sts-endpoint is not added", removeVariable})
	case id.STSEndpoint == "" && !ignore && !e.Open && e.sets(envEndpoint) && !e.sets(envSTSEndpoint):
		overrides = append(overrides, Override{envEndpoint, false, "SDKs call STS there, too", "set " + envSTSEndpoint})
	}
	// With role chaining, the configuration has the name.
	if v, ok := e.last(envRoleSessionName); ok && !v.FromElsewhere && id.TargetRoleARN == "" && !strings.Contains(v.Value, "$") && !identity.IsSessionName(v.Value) {
		overrides = append(overrides, Override{envRoleSessionName, v.Value != "", "STS rejects it", "use 2 to 64 letters, digits or _+=,.@-"})
	}
	if v, _ := e.last(envSTSRegionalEndpoints); v.Value != "" && v.Value != regionalSTS && v.Value != legacySTS && !strings.Contains(v.Value, "$") {
		overrides = append(overrides, Override{envSTSRegionalEndpoints, false, "some SDKs fail", "use " + regionalSTS})
	}
	return overrides
}
