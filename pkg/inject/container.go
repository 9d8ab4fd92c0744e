package inject

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// The environment variables that the AWS SDKs read
// (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).
const (
	envRoleARN                 = "AWS_ROLE_ARN"
	envWebIdentityTokenFile    = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable, no credential
	envRoleSessionName         = "AWS_ROLE_SESSION_NAME"
	envRegion                  = "AWS_REGION"
	envDefaultRegion           = "AWS_DEFAULT_REGION"
	envSTSRegionalEndpoints    = "AWS_STS_REGIONAL_ENDPOINTS"
	envSTSEndpoint             = "AWS_ENDPOINT_URL_STS"
	envContainerCredentialsURI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"     //nolint:gosec // the name of a variable, no credential
	envContainerTokenFile      = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" //nolint:gosec // the name of a variable, no credential
	envConfigFile              = "AWS_CONFIG_FILE"
	envLoadConfig              = "AWS_SDK_LOAD_CONFIG"
	envProfile                 = "AWS_PROFILE"
	envDefaultProfile          = "AWS_DEFAULT_PROFILE"
)

// injectContainers decides about each container of a list whose name none of
// existing has.
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

// injectContainer decides about the container at a place of the pod. By identity
// are meant the variables that make one.
//
//	not selected by the pod's annotations          left alone
//	its own file of the token                      no mount is added, whatever is at the token path
//	token not mounted; identity, region, STS set   left alone, warned about
//	no path for the token                          left alone, warned about
//	its own identity set, all or half              keeps it, warned about; mount, region and STS are added
//	otherwise                                      mount and environment are added
//
// The mount goes to the usual path or to the fallback, see findPlace.
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
		p.warnForeign(c, to.credentialSpec, env)
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

// environment is what a container's variables say.
type environment struct {
	// identity, region and sts say whether the container sets any variable of
	// that kind.
	identity, region, sts bool
	// differs says that the identity is not that which would be added: it has another
	// role, or its file is not the token.
	differs bool
	// tokenVolume is the volume in which the file of the identity is the token, or ""
	// if the file is not the token; ownTokenFile says that it is at a path of the
	// container's own.
	tokenVolume  string
	ownTokenFile bool
	// tokenPart reports whether the file is the token, but mounted by subPath: the kubelet
	// does not renew it there (https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath).
	tokenPart bool
}

// isComplete says whether the container sets a variable of each kind.
func (e *environment) isComplete() bool { return e.identity && e.region && e.sts }

// inspectEnv returns what a container's variables say, if it has the identity by d.
func (p *patchBuilder) inspectEnv(c *Container, d *credentialSpec) environment {
	var found environment
	// Of variables that are set twice, a process sees the last.
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

// missingEnv lists what a container should have and has not: first, in its
// order, what AWS's own webhook appends.
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

// normalizePath returns a path in the one spelling in which paths can be compared.
func (p *patchBuilder) normalizePath(mountPath string) string {
	if p.windows {
		mountPath = normalizeWindowsPath(mountPath)
	}
	if !strings.HasPrefix(mountPath, "/") {
		// The kubelet takes a relative path from the root.
		mountPath = "/" + mountPath
	}
	// Most paths are clean, and path.Clean took a quarter of a decision's time.
	if !strings.Contains(mountPath, "//") && !strings.Contains(mountPath, "/.") && !strings.HasSuffix(mountPath, "/") {
		return mountPath
	}
	return path.Clean(mountPath)
}

// normalizeWindowsPath returns a path of Windows, where letter case and the kind of slash do
// not matter, in a form that can be compared.
func normalizeWindowsPath(windowsPath string) string {
	windowsPath = strings.ToLower(strings.ReplaceAll(windowsPath, `\`, "/"))
	return strings.TrimPrefix(windowsPath, "c:")
}
