package inject

import (
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Other variables of a container that affect the credentials or the STS endpoint of AWS
// SDKs.
const (
	envAccessKeyID            = "AWS_ACCESS_KEY_ID"
	envSecretAccessKey        = "AWS_SECRET_ACCESS_KEY" //nolint:gosec // the name of a variable, not a credential
	envSessionToken           = "AWS_SESSION_TOKEN"     //nolint:gosec // the name of a variable, not a credential
	envAccessKey              = "AWS_ACCESS_KEY"
	envSecretKey              = "AWS_SECRET_KEY"              //nolint:gosec // the name of a variable, not a credential
	envSharedCredentialsFile  = "AWS_SHARED_CREDENTIALS_FILE" //nolint:gosec // the name of a variable, not a credential
	envEndpoint               = "AWS_ENDPOINT_URL"
	envIgnoreEndpoints        = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
	envContainerRelativeURI   = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	regionalSTS, legacySTS    = "regional", "legacy"
	removeVariable            = "remove it"
	effectKeys, effectProfile = "SDKs use these keys instead of the role", "some SDKs fail if the profile does not exist"
)

// Override is a variable of a container that keeps AWS SDKs from using the identity that
// the webhook injects. The tests in test/sdks check the list against the SDKs.
type Override struct {
	// Variable is the name of the variable. Its value may be secret, so it is never shown.
	Variable string
	// Certain reports whether all SDKs are affected in all cases.
	Certain bool
	// Effect is a clause that describes the behavior of SDKs, and Fix is an imperative.
	Effect, Fix string
}

// String returns the override as the object of the verb "sets".
func (o Override) String() string { return o.Variable + ": " + o.Effect + "; " + o.Fix }

// IsKeyVariable reports whether a variable is part of an access key. All SDKs use access
// keys before any other credentials
// (https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html).
func IsKeyVariable(name string) bool {
	return name == envAccessKeyID || name == envSecretAccessKey || name == envSessionToken
}

// IsProfileVariable reports whether a variable selects a profile. Some SDKs fail if the
// profile does not exist, even if the name is empty.
func IsProfileVariable(name string) bool { return name == envProfile || name == envDefaultProfile }

// Environment is the known part of the environment of a container.
type Environment struct {
	Variables Env
	// Open reports whether there may be other variables: envFrom refers to a Secret or a
	// ConfigMap, whose keys are not in the pod. A variable may then be set even if it is
	// not in Variables.
	Open bool
}

// last returns the last variable with the name, which is the one that a process sees.
func (e Environment) last(name string) (v EnvVar, ok bool) {
	for _, variable := range slices.Backward(e.Variables) {
		if variable.Name == name {
			return variable, true
		}
	}
	return EnvVar{}, false
}

// sets reports whether a variable is set and is not known to be empty.
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
// using the identity.
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

// otherCredentials returns the variables of credentials that SDKs use before or instead of
// both a web identity and an agent.
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
		// Old names, which the SDKs for Go still read.
		overrides = append(overrides, Override{envAccessKey, false, "some " + effectKeys, removeVariable})
	}
	for _, name := range [...]string{envProfile, envDefaultProfile} {
		// Some SDKs use an empty name as the name of a profile.
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

// otherAgents returns the variables that keep SDKs from using the agent of EKS Pod
// Identity.
func (e Environment) otherAgents() []Override {
	var overrides []Override
	if e.sets(envWebIdentityTokenFile) {
		overrides = append(overrides, Override{envWebIdentityTokenFile, e.sets(envRoleARN), "SDKs use a web identity before the agent", removeVariable})
	}
	// Some SDKs check only whether it is set, not whether it is empty.
	if _, ok := e.last(envContainerRelativeURI); ok {
		overrides = append(overrides, Override{envContainerRelativeURI, false, "most SDKs use it before the agent's URL", removeVariable})
	}
	return overrides
}

// otherSTS returns the variables that make SDKs use a wrong STS endpoint, or send a request
// that STS rejects.
func (e Environment) otherSTS(id *identity.Identity) []Override {
	var overrides []Override
	switch ignore := e.isTrue(envIgnoreEndpoints); {
	case id.STSEndpoint != "" && ignore:
		overrides = append(overrides, Override{envIgnoreEndpoints, false, "SDKs do not use the sts-endpoint", removeVariable})
	case id.STSEndpoint != "" && e.setsEmpty(envSTSEndpoint):
		overrides = append(overrides, Override{envSTSEndpoint, true, "empty, so the sts-endpoint is not added", removeVariable})
	case id.STSEndpoint == "" && !ignore && !e.Open && e.sets(envEndpoint) && !e.sets(envSTSEndpoint):
		overrides = append(overrides, Override{envEndpoint, false, "SDKs call STS there, too", "set " + envSTSEndpoint})
	}
	// With role chaining, the session name is in the configuration.
	if v, ok := e.last(envRoleSessionName); ok && !v.FromElsewhere && id.TargetRoleARN == "" && !strings.Contains(v.Value, "$") && !identity.IsSessionName(v.Value) {
		overrides = append(overrides, Override{envRoleSessionName, v.Value != "", "STS rejects it", "use 2 to 64 letters, digits or _+=,.@-"})
	}
	if v, _ := e.last(envSTSRegionalEndpoints); v.Value != "" && v.Value != regionalSTS && v.Value != legacySTS && !strings.Contains(v.Value, "$") {
		overrides = append(overrides, Override{envSTSRegionalEndpoints, false, "some SDKs fail", "use " + regionalSTS})
	}
	return overrides
}
