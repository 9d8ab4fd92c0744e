package inject

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Environment variables that the AWS SDKs read
// (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).
const (
	envRoleARN                 = "AWS_ROLE_ARN"
	envWebIdentityTokenFile    = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable, not a credential
	envRoleSessionName         = "AWS_ROLE_SESSION_NAME"
	envRegion                  = "AWS_REGION"
	envDefaultRegion           = "AWS_DEFAULT_REGION"
	envSTSRegionalEndpoints    = "AWS_STS_REGIONAL_ENDPOINTS"
	envSTSEndpoint             = "AWS_ENDPOINT_URL_STS"
	envContainerCredentialsURI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"     //nolint:gosec // the name of a variable, not a credential
	envContainerTokenFile      = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" //nolint:gosec // the name of a variable, not a credential
	envConfigFile              = "AWS_CONFIG_FILE"
	envLoadConfig              = "AWS_SDK_LOAD_CONFIG"
	envProfile                 = "AWS_PROFILE"
	envDefaultProfile          = "AWS_DEFAULT_PROFILE"
)

// injectContainers adds the result of each container of a list that is not in existing.
func (p *patchBuilder) injectContainers(list string, containers, existing []Container) {
	p.result.Containers = slices.Grow(p.result.Containers, len(containers))
	for i := range containers {
		c := &containers[i]
		if hasContainer(existing, c.Name) {
			continue
		}
		p.result.Containers = append(p.result.Containers, p.injectContainer(list+strconv.Itoa(i), c))
	}
}

// injectContainer patches the container at a path of the pod and returns the result. In
// this table, identity means the variables that select an identity.
//
//	not selected by the pod's annotations          skipped
//	has the token at a path of its own             no mount is added
//	token not mounted; identity, region, STS set   skipped with a warning
//	no path for the token                          skipped with a warning
//	sets all or a part of its own identity         keeps it, with a warning; mount, region and STS are added
//	otherwise                                      mount and environment are added
//
// The mount is at the usual path or at the fallback path, see findPlace.
func (p *patchBuilder) injectContainer(at string, c *Container) ContainerResult {
	result := ContainerResult{Name: c.Name, Reason: AlreadyInjected}
	if reason := p.containerFilter.reason(c.Name); reason != "" {
		result.Reason = reason
		return result
	}
	to := p.findPlace(c)
	env, mounted := to.env, to.hasToken()
	if env.ownTokenFile && env.tokenVolume != p.result.Volume {
		result.OwnVolume = env.tokenVolume
	}
	switch {
	case env.isComplete() && !mounted:
		result.Reason = EnvSetByUser
		if empty := c.environment().empty(envRoleARN, envWebIdentityTokenFile, envRegion, envDefaultRegion, envSTSRegionalEndpoints); empty != "" {
			p.warn(EnvSetByUser, "container %q sets %s to an empty value: nothing is added; remove it", c.Name, empty)
			return result
		}
		p.warn(EnvSetByUser, "container %q sets its own AWS identity, region and STS endpoint: nothing is added", c.Name)
		return result
	case to.mounts.obstacle != "" && !mounted:
		result.Reason = TokenPathTaken
		p.warn(TokenPathTaken, "container %q: token not mounted, because %s; mount that elsewhere", c.Name, to.blocked)
		return result
	}

	missing := p.missingEnv(to.credentialSpec, env, c.Env)
	result.Env = slices.Grow(result.Env, len(missing))
	for i := range missing {
		result.Env = append(result.Env, missing[i].Name)
	}
	p.patch.addVariables(at, c.Env == nil, missing)
	if !mounted {
		result.Mounted = true
		p.patch.addMount(at, c.VolumeMounts == nil, p.result.Volume, to.directory)
	}

	p.warnRegion(c, env)
	switch {
	case env.differs:
		result.Reason = MountOnly
		p.warnOwnIdentity(c, to.credentialSpec, env)
		return result
	case to.blocked != "" && to.directory == p.settings.FallbackMountPath:
		p.warn(FallbackPath, "container %q: token mounted at %s, because %s", c.Name, to.directory, to.blocked)
		if result.Mounted || len(missing) > 0 {
			result.Reason = FallbackPath
		}
	case result.Mounted || len(missing) > 0:
		result.Reason = Injected
	}
	p.warnOverrides(c)
	return result
}

// environment describes the variables that a container sets itself.
type environment struct {
	// identity, region and sts report whether the container sets any variable of that
	// kind.
	identity, region, sts bool
	// differs reports whether the identity differs from the one that the webhook would
	// add: it has another role, or its file is not the token.
	differs bool
	// tokenVolume is the volume of the token that the container's identity reads, or "" if
	// its file is not the token. ownTokenFile reports whether the token is at a path that
	// the container chose.
	tokenVolume  string
	ownTokenFile bool
	// tokenPart reports whether the file is the token, but mounted by subPath: the kubelet
	// does not renew it there (https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath).
	tokenPart bool
}

// isComplete reports whether the container sets a variable of each kind.
func (e *environment) isComplete() bool { return e.identity && e.region && e.sts }

// inspectEnv returns the environment of a container, compared with d.
func (p *patchBuilder) inspectEnv(c *Container, d *credentialSpec) environment {
	var found environment
	// If a variable is set twice, a process sees the last one.
	same := make([]bool, len(d.variables))
	file := ""
	for i := range c.Env {
		switch v := &c.Env[i]; v.Name {
		case envRegion, envDefaultRegion:
			found.region = true
		case envSTSRegionalEndpoints:
			found.sts = true
		default:
			if of := d.indexOf(v.Name); of >= 0 {
				found.identity = true
				same[of] = v.Value == d.variables[of].Value
				if v.Name == d.fileVariable {
					file = v.Value
					same[of] = same[of] || p.isPlainPath(file) && p.normalizePath(file) == p.normalizePath(d.variables[of].Value)
				}
			}
			if slices.Contains(d.conflictingEnv, v.Name) {
				found.identity, found.differs = true, true
			}
		}
	}
	if file != "" {
		of := d.indexOf(d.fileVariable)
		switch volume, part := p.tokenVolumeOf(c, file); {
		case part:
			found.tokenPart, same[of] = true, false
		case volume != "":
			found.tokenVolume, found.ownTokenFile = volume, !same[of]
			same[of] = true
		}
	}
	found.differs = found.differs || found.identity && slices.Contains(same, false)
	return found
}

// missingEnv returns the variables that a container lacks. Those that
// amazon-eks-pod-identity-webhook appends come first, in its order.
func (p *patchBuilder) missingEnv(d *credentialSpec, has environment, variables Env) []corev1.EnvVar {
	var missing []corev1.EnvVar
	if p.identity.RegionalSTS && !has.sts {
		missing = append(missing, corev1.EnvVar{Name: envSTSRegionalEndpoints, Value: "regional"})
	}
	if p.settings.Region != "" && !has.region {
		missing = append(missing,
			corev1.EnvVar{Name: envDefaultRegion, Value: p.settings.Region},
			corev1.EnvVar{Name: envRegion, Value: p.settings.Region})
	}
	if !has.identity {
		missing = append(missing, d.variables...)
	}
	for _, extra := range d.optionalEnv {
		if !has.differs && !slices.ContainsFunc(variables, func(v EnvVar) bool { return v.Name == extra.Name }) {
			missing = append(missing, extra)
		}
	}
	return missing
}

// normalizePath returns a path in a normalized form, so that paths can be compared.
func (p *patchBuilder) normalizePath(mountPath string) string {
	if p.windows {
		mountPath = normalizeWindowsPath(mountPath)
	}
	if !strings.HasPrefix(mountPath, "/") {
		// The kubelet resolves a relative path from the root.
		mountPath = "/" + mountPath
	}
	// Most paths are clean, and path.Clean took a quarter of a decision's time.
	if !strings.Contains(mountPath, "//") && !strings.Contains(mountPath, "/.") && !strings.HasSuffix(mountPath, "/") {
		return mountPath
	}
	return path.Clean(mountPath)
}

// normalizeWindowsPath returns a Windows path in a form that can be compared: in lower
// case, with forward slashes, and without drive C.
func normalizeWindowsPath(windowsPath string) string {
	windowsPath = strings.ToLower(strings.ReplaceAll(windowsPath, `\`, "/"))
	return strings.TrimPrefix(windowsPath, "c:")
}
