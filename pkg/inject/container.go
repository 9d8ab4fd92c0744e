package inject

import (
	"fmt"
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

// addToContainers decides about each container of a list whose name none of
// existing has.
func (p *plan) addToContainers(list string, containers, existing []Container) {
	p.result.Containers = slices.Grow(p.result.Containers, len(containers))
	for i := range containers {
		c := &containers[i]
		if slices.ContainsFunc(existing, func(old Container) bool { return old.Name == c.Name }) {
			continue
		}
		p.result.Containers = append(p.result.Containers, p.addToContainer(list+strconv.Itoa(i), c))
	}
}

// addToContainer decides about the container at a place of the pod. By identity
// are meant the variables that make one.
//
//	not selected by the pod's annotations          left alone
//	its own file of the token                      no mount is added, whatever is at the token path
//	token not mounted; identity, region, STS set   left alone, warned about
//	token path taken                               left alone, warned about
//	its own identity set, all or half              keeps it, warned about; mount, region and STS are added
//	otherwise                                      mount and environment are added
func (p *plan) addToContainer(at string, c *Container) ContainerResult {
	result := ContainerResult{Name: c.Name, Reason: AlreadyInjected}
	if reason := p.selection.reason(c.Name); reason != "" {
		result.Reason = reason
		return result
	}
	env := p.look(c)
	mounts := p.lookAtMounts(c)
	// A container that has its own variables knows where it mounts our volume.
	mounted := mounts.atTokenPath || env.foreign && mounts.elsewhere || env.tokenVolume != ""
	if env.ownTokenFile {
		result.OwnVolume = env.tokenVolume
	}
	switch {
	case env.identity && env.region && env.sts && !mounted:
		result.Reason = EnvSetByUser
		if empty := c.environment().empty(envRoleARN, envWebIdentityTokenFile, envRegion, envDefaultRegion, envSTSRegionalEndpoints); empty != "" {
			p.warn(EnvSetByUser, "container %q sets %s to an empty value: nothing is added; remove it", c.Name, empty)
			return result
		}
		p.warn(EnvSetByUser, "container %q sets its own AWS identity, region and STS endpoint: nothing is added", c.Name)
		return result
	case mounts.takenBy != "" && !env.ownTokenFile:
		result.Reason = TokenPathTaken
		p.warn(TokenPathTaken, "container %q has %s where the token would go: nothing is added", c.Name, mounts.takenBy)
		return result
	}

	missing := p.missingEnv(env, c.Env)
	result.Env = slices.Grow(result.Env, len(missing))
	for i := range missing {
		result.Env = append(result.Env, missing[i].Name)
	}
	p.patch = p.patch.addVariables(at, c.Env == nil, missing)
	if !mounted {
		result.Mounted = true
		p.patch = p.patch.addMount(at, c.VolumeMounts == nil, p.result.Volume, p.delivery.folder)
	}

	p.warnRegion(c, env)
	switch {
	case env.foreign:
		result.Reason = MountOnly
		if empty := c.environment().empty(p.delivery.variableNames()...); empty != "" {
			p.warn(MountOnly, "container %q sets %s to an empty value, so it gets no role: remove it", c.Name, empty)
			return result
		}
		p.warn(MountOnly, "container %q sets %s of its own: they are kept", c.Name, p.delivery.names())
		return result
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
	// foreign says that the identity is not that which would be added: it has another
	// role, or its file is not the token.
	foreign bool
	// tokenVolume is the volume in which the file of the identity is the token, or ""
	// if the file is not the token; ownTokenFile says that it is at a path of the
	// container's own.
	tokenVolume  string
	ownTokenFile bool
}

func (p *plan) look(c *Container) environment {
	var found environment
	// Of variables that are set twice, a process sees the last.
	same := make([]bool, len(p.delivery.variables))
	file := ""
	for i := range c.Env {
		switch v := &c.Env[i]; v.Name {
		case envRegion, envDefaultRegion:
			found.region = true
		case envSTSRegionalEndpoints:
			found.sts = true
		default:
			if of := p.delivery.indexOf(v.Name); of >= 0 {
				found.identity = true
				same[of] = v.Value == p.delivery.variables[of].Value
				if v.Name == p.delivery.fileVariable {
					file = v.Value
				}
			}
			if slices.Contains(p.delivery.rivals, v.Name) {
				found.identity, found.foreign = true, true
			}
		}
	}
	if file != "" {
		if found.tokenVolume = p.tokenVolumeOf(c, file); found.tokenVolume != "" {
			of := p.delivery.indexOf(p.delivery.fileVariable)
			found.ownTokenFile = !same[of]
			same[of] = true
		}
	}
	found.foreign = found.foreign || found.identity && slices.Contains(same, false)
	return found
}

// missingEnv lists what a container should have and has not: first, in its
// order, what AWS's own webhook appends. The list is valid until the next call.
func (p *plan) missingEnv(has environment, variables Env) []corev1.EnvVar {
	missing := p.missing[:0]
	if p.identity.RegionalSTS && !has.sts {
		missing = append(missing, corev1.EnvVar{Name: envSTSRegionalEndpoints, Value: "regional"})
	}
	if p.settings.Region != "" && !has.region {
		missing = append(missing,
			corev1.EnvVar{Name: envDefaultRegion, Value: p.settings.Region},
			corev1.EnvVar{Name: envRegion, Value: p.settings.Region})
	}
	if !has.identity {
		missing = append(missing, p.delivery.variables...)
	}
	for _, extra := range p.delivery.extras {
		if !has.foreign && !slices.ContainsFunc(variables, func(v EnvVar) bool { return v.Name == extra.Name }) {
			missing = append(missing, extra)
		}
	}
	p.missing = missing
	return missing
}

// mounts is what a container's mounts say about the token.
type mounts struct {
	// atTokenPath says that a token for the right audience, of whatever volume,
	// is mounted where it should be; elsewhere that the token's volume is
	// mounted at another path.
	atTokenPath, elsewhere bool
	// takenBy describes what else is at the token's path, if anything.
	takenBy string
}

func (p *plan) lookAtMounts(c *Container) mounts {
	var found mounts
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		whole := m.SubPath == "" && m.SubPathExpr == ""
		switch at, below := p.relateToToken(m.MountPath); {
		case at && whole && p.isToken(m.Name):
			found.atTokenPath = true
		case at || below:
			found.takenBy = fmt.Sprintf("volume %q at %s", m.Name, m.MountPath)
		case whole && m.Name == p.result.Volume:
			found.elsewhere = true
		}
	}
	for i := range c.VolumeDevices {
		if at, below := p.relateToToken(c.VolumeDevices[i].DevicePath); at || below {
			found.takenBy = "a block device at " + c.VolumeDevices[i].DevicePath
		}
	}
	return found
}

// isToken says whether the volume of a name holds the token, or one just like it.
func (p *plan) isToken(volume string) bool {
	if volume == p.result.Volume {
		return true
	}
	existing := p.pod.Spec.volume(volume)
	return existing != nil && p.delivery.isHeldBy(existing, p.identity.Audience)
}

// relateToToken says whether mountPath is the token's folder, or below it. The
// API server refuses equal paths; two spellings of one path would hide each
// other; and nothing can be mounted into a volume that is read-only.
func (p *plan) relateToToken(mountPath string) (at, below bool) {
	rest, within := strings.CutPrefix(p.spelt(mountPath), p.tokenFolder)
	return within && rest == "", within && strings.HasPrefix(rest, "/")
}

// spelt returns a path in the one spelling in which paths can be compared.
func (p *plan) spelt(mountPath string) string {
	if p.windows {
		mountPath = slashed(mountPath)
	}
	if !strings.HasPrefix(mountPath, "/") {
		// The kubelet takes a relative path from the root.
		mountPath = "/" + mountPath
	}
	return path.Clean(mountPath)
}

// slashed returns a path of Windows, where letter case and the kind of slash do
// not matter, in a form that can be compared.
func slashed(windowsPath string) string {
	windowsPath = strings.ToLower(strings.ReplaceAll(windowsPath, `\`, "/"))
	return strings.TrimPrefix(windowsPath, "c:")
}
