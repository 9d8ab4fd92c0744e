package inject

import (
	"fmt"
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
//	named in skip-containers                         left alone
//	token not mounted; web identity, region, STS set left alone, warned about
//	token path taken                                 left alone, warned about
//	its own web identity set, all or half            keeps it, warned about; mount, region and STS are added
//	otherwise                                        mount and environment are added
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
	// A container that has its own variables knows where it mounts our volume.
	mounted := mounts.atTokenPath || foreign && mounts.elsewhere
	switch {
	case env.webIdentity && env.region && env.sts && !mounted:
		result.Reason = EnvSetByUser
		p.warn(EnvSetByUser, "container %q sets its own AWS identity, region and STS endpoint: nothing is added", c.Name)
		return
	case mounts.takenBy != "":
		result.Reason = TokenPathTaken
		p.warn(TokenPathTaken, "container %q has %s where the token would go: nothing is added", c.Name, mounts.takenBy)
		return
	}

	at := list + strconv.Itoa(index)
	added := p.missingEnv(env)
	for _, variable := range added {
		result.Env = append(result.Env, variable.Name)
	}
	p.addElements(at+"/env", c.Env == nil, added)
	if !mounted {
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
	return existing != nil && existing.holdsToken(p.identity.Audience)
}

// relateToToken says whether mountPath is the token's folder, or below it. The API server refuses equal paths; two spellings of one path would
// hide each other; and nothing can be mounted into a volume that is read-only.
func (p *plan) relateToToken(mountPath string) (at, below bool) {
	folder := p.settings.MountPath
	if p.windows {
		mountPath, folder = slashed(mountPath), slashed(folder)
	}
	// The kubelet takes a relative path from the root.
	mountPath, folder = path.Clean("/"+mountPath), path.Clean(folder)
	return mountPath == folder, strings.HasPrefix(mountPath, folder+"/")
}

// slashed returns a path of Windows, where letter case and the kind of slash do
// not matter, in a form that can be compared.
func slashed(windowsPath string) string {
	windowsPath = strings.ToLower(strings.ReplaceAll(windowsPath, `\`, "/"))
	return strings.TrimPrefix(windowsPath, "c:")
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
