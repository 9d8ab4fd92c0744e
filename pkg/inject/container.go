package inject

import (
	"path"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// The environment variables that the AWS SDKs read
// (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).
const (
	envRoleARN              = "AWS_ROLE_ARN"
	envWebIdentityTokenFile = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable, no credential
	envRegion               = "AWS_REGION"
	envDefaultRegion        = "AWS_DEFAULT_REGION"
	envSTSRegionalEndpoints = "AWS_STS_REGIONAL_ENDPOINTS"
)

// addToContainer decides about one container.
//
//	named in skip-containers            left alone
//	web identity, region and STS set    left alone
//	token path taken                    left alone, warned about
//	web identity set, all or half       keeps it; mount, region and STS are added
//	otherwise                           mount and environment are added
func (p *plan) addToContainer(list string, index int, c *Container) {
	result := ContainerResult{Name: c.Name, Reason: AlreadyInjected}
	defer func() { p.result.Containers = append(p.result.Containers, result) }()

	if slices.Contains(p.skip, c.Name) {
		result.Reason = SkipContainers
		return
	}
	env := p.look(c.Env)
	mounts := p.lookAtMounts(c)
	foreign := env.webIdentity && !env.ours
	switch {
	case env.webIdentity && env.region && env.sts:
		if foreign {
			result.Reason = EnvSetByUser
			p.warn(EnvSetByUser, "container %q sets its own AWS identity, region and STS endpoint: nothing is added", c.Name)
		}
		return
	case mounts.takenBy != "":
		result.Reason = TokenPathTaken
		p.warn(TokenPathTaken, "container %q has %s at %s already: it gets no identity",
			c.Name, mounts.takenBy, p.settings.MountPath)
		return
	}

	at := list + strconv.Itoa(index)
	added := p.missingEnv(env)
	for _, variable := range added {
		result.Env = append(result.Env, variable.Name)
	}
	p.addElements(at+"/env", c.Env == nil, added)
	// A container that has its own variables knows where it mounts our volume.
	if !mounts.atTokenPath && (!foreign || !mounts.elsewhere) {
		result.Mounted = true
		p.addElement(at+"/volumeMounts", c.VolumeMounts == nil, "/-", corev1.VolumeMount{
			Name:      p.result.Volume,
			ReadOnly:  true,
			MountPath: p.settings.MountPath,
		})
	}

	switch {
	case foreign:
		result.Reason = MountOnly
		p.warn(MountOnly, "container %q sets its own %s or %s: they are kept", c.Name, envRoleARN, envWebIdentityTokenFile)
	case result.Mounted || len(added) > 0:
		result.Reason = Injected
	}
}

// environment is what a container's variables say.
type environment struct {
	// webIdentity, region and sts say whether the container sets any variable
	// of that kind.
	webIdentity, region, sts bool
	// ours says that the web identity is just what would be added.
	ours bool
}

func (p *plan) look(variables []EnvVar) environment {
	var found environment
	var role, file string
	for i := range variables {
		switch v := &variables[i]; v.Name {
		case envRoleARN:
			found.webIdentity = true
			role = v.Value
		case envWebIdentityTokenFile:
			found.webIdentity = true
			file = v.Value
		case envRegion, envDefaultRegion:
			found.region = true
		case envSTSRegionalEndpoints:
			found.sts = true
		}
	}
	found.ours = role == p.identity.RoleARN && file == p.tokenFile
	return found
}

// missingEnv lists what a container should have and has not, in the order in
// which AWS's own webhook appends it.
func (p *plan) missingEnv(has environment) []EnvVar {
	missing := make([]EnvVar, 0, 5)
	if p.identity.RegionalSTS && !has.sts {
		missing = append(missing, EnvVar{Name: envSTSRegionalEndpoints, Value: "regional"})
	}
	if p.settings.Region != "" && !has.region {
		missing = append(missing,
			EnvVar{Name: envDefaultRegion, Value: p.settings.Region},
			EnvVar{Name: envRegion, Value: p.settings.Region})
	}
	if !has.webIdentity {
		missing = append(missing,
			EnvVar{Name: envRoleARN, Value: p.identity.RoleARN},
			EnvVar{Name: envWebIdentityTokenFile, Value: p.tokenFile})
	}
	return missing
}

// mounts is what a container's mounts say about the token.
type mounts struct {
	// atTokenPath says that the token's volume is mounted where it should be,
	// elsewhere that it is mounted at another path.
	atTokenPath, elsewhere bool
	// takenBy describes what else is at the token's path, if anything.
	takenBy string
}

func (p *plan) lookAtMounts(c *Container) mounts {
	var found mounts
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		isToken := m.Name == p.result.Volume && m.SubPath == "" && m.SubPathExpr == ""
		switch covers := p.coversToken(m.MountPath); {
		case covers && isToken:
			found.atTokenPath = true
		case covers:
			found.takenBy = "volume " + strconv.Quote(m.Name)
		case isToken:
			found.elsewhere = true
		}
	}
	for i := range c.VolumeDevices {
		if p.coversToken(c.VolumeDevices[i].DevicePath) {
			found.takenBy = "a block device"
		}
	}
	return found
}

// coversToken says whether something at mountPath is where the token's folder
// or file would be. The API server refuses equal paths, and two spellings of
// one path would hide each other.
func (p *plan) coversToken(mountPath string) bool {
	if p.windows {
		mountPath = strings.ReplaceAll(mountPath, `\`, "/")
		if len(mountPath) > 2 && mountPath[1] == ':' {
			mountPath = mountPath[2:]
		}
	}
	clean, folder := path.Clean(mountPath), path.Clean(p.settings.MountPath)
	return clean == folder || path.Dir(clean) == folder && path.Base(clean) == token.FileName
}

// isWindows says whether a pod can only run on Windows. Both labels are set on
// each node by its kubelet; the second is the name they had before 1.14.
func isWindows(nodeSelector map[string]string) bool {
	return nodeSelector["kubernetes.io/os"] == "windows" || nodeSelector["beta.kubernetes.io/os"] == "windows"
}

// tokenFile returns the path of the token as a container's processes know it.
// The mount itself is given in the Unix form for Windows too; the container
// runtime puts it on drive C.
func tokenFile(mountPath string, windows bool) string {
	file := path.Join(mountPath, token.FileName)
	if windows {
		return "C:" + strings.ReplaceAll(file, "/", `\`)
	}
	return file
}
