package inject

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// This file chooses the directory in which the token is mounted in a container: the usual
// one, or the fallback. The fallback is used if the container could not start with a mount
// at the usual path, or would lose one of its mounts. docs/mounts.md has the observations
// for these rules: each kind of volume at each parent of the path, on a real kubelet.

// place is the decision about the token of one container.
type place struct {
	*credentialSpec
	// env and mounts describe the container, compared with credentialSpec.
	env    environment
	mounts mounts
	// blocked describes what blocks the usual path, and, if credentialSpec is not the
	// fallback, the fallback path. It is empty if nothing does.
	blocked string
}

// findPlace chooses the credentialSpec for a container. It is the usual one, unless the
// token is already at the fallback path or cannot be mounted at the usual path. A container
// with its own identity would not use the fallback path.
func (p *patchBuilder) findPlace(c *Container) place {
	usual := p.placeAt(c, &p.credentialSpec)
	blocked := usual.blocked != "" && !usual.env.identity
	switch {
	case p.usualDirectory != "": // all containers use the fallback
		if obstacle := p.findObstacle(c, p.usualDirectory); obstacle != "" {
			usual.blocked = obstacle + " blocks " + p.usualDirectory
		}
		return usual
	case p.fixedPath || !blocked && (usual.mounts.atTokenPath && !usual.env.differs || !p.mountsAt(c, p.settings.FallbackMountPath)):
		return usual
	}
	fallback := p.placeAt(c, p.fallback())
	switch {
	case fallback.blocked == "" && (blocked || fallback.mounts.atTokenPath):
		fallback.blocked = usual.blocked
		return fallback
	case blocked:
		usual.blocked += " and " + fallback.blocked
	}
	return usual
}

func (p *patchBuilder) placeAt(c *Container, d *credentialSpec) place {
	at := place{credentialSpec: d, env: p.inspectEnv(c, d), mounts: p.readMounts(c, d)}
	if at.mounts.obstacle != "" {
		at.blocked = at.mounts.obstacle + " blocks " + d.directory
	}
	return at
}

func (p *patchBuilder) mountsAt(c *Container, directory string) bool {
	directory = p.normalizePath(directory)
	return slices.ContainsFunc(c.VolumeMounts, func(m VolumeMount) bool { return p.normalizePath(m.MountPath) == directory })
}

// fallback returns the credentialSpec of the fallback path. It is created on demand,
// because few pods need it.
func (p *patchBuilder) fallback() *credentialSpec {
	if p.fallbackSpec == nil {
		d := newCredentialSpec(p.pod, p.identity, p.settings, p.windows, p.settings.FallbackMountPath)
		p.fallbackSpec = &d
	}
	return p.fallbackSpec
}

// fixPath chooses one path for all containers of a pod with role chaining. Such a pod has
// only one AWS configuration with the path of the token.
func (p *patchBuilder) fixPath() {
	if p.credentialSpec.config == "" {
		return
	}
	p.fixedPath = true
	if p.usesFallback() {
		p.usualDirectory, p.credentialSpec = p.credentialSpec.directory, *p.fallback()
	}
}

// usesFallback reports whether a pod with role chaining has or gets its token at the
// fallback path. An existing configuration decides by its token path, and otherwise an
// existing mount of the token. The rest of a configuration may have changed since the
// webhook wrote it, or may be from the user.
func (p *patchBuilder) usesFallback() bool {
	d := p.fallback()
	if config, exists := p.pod.Metadata.Annotations[configAnnotation]; exists {
		return strings.Contains(config, tokenFileLine(containerPath(d.directory, d.file, p.windows)))
	}
	isThere := func(c *Container) bool { return p.mountsAt(c, d.directory) && p.readMounts(c, d).atTokenPath }
	return p.anySelected(isThere) || p.isBlocked(&p.credentialSpec) && !p.isBlocked(d)
}

// isBlocked reports whether the directory of d is blocked in a container that needs the
// token.
func (p *patchBuilder) isBlocked(d *credentialSpec) bool {
	return p.anySelected(func(c *Container) bool {
		env := p.inspectEnv(c, d)
		return !env.identity && p.findObstacle(c, d.directory) != ""
	})
}

// anySelected reports whether match returns true for a container or init container that
// the pod's annotations select.
func (p *patchBuilder) anySelected(match func(*Container) bool) bool {
	for _, containers := range [...][]Container{p.pod.Spec.InitContainers, p.pod.Spec.Containers} {
		for i := range containers {
			if c := &containers[i]; p.containerFilter.reason(c.Name) == "" && match(c) {
				return true
			}
		}
	}
	return false
}

// hasToken reports whether a container already has the token. A container that sets the
// variables itself is expected to read the token where it mounts the token's volume.
func (at *place) hasToken() bool {
	return at.mounts.atTokenPath || at.env.tokenVolume != "" || at.env.differs && at.mounts.elsewhere
}

// mounts describes the mounts of a container with respect to a directory for the token.
type mounts struct {
	// atTokenPath reports whether a token for the right audience, of any volume, is
	// mounted there and nothing blocks it. elsewhere reports whether the token's volume
	// is mounted at another path.
	atTokenPath, elsewhere bool
	// obstacle describes what blocks a mount of the token there, or is empty.
	obstacle string
}

func (p *patchBuilder) readMounts(c *Container, d *credentialSpec) mounts {
	found := mounts{obstacle: p.findObstacle(c, d.directory)}
	directory := p.normalizePath(d.directory)
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		switch at := p.normalizePath(m.MountPath); {
		case at == directory && m.whole() && p.isToken(m.Name):
			found.atTokenPath = found.obstacle == ""
		case m.whole() && m.Name == p.result.Volume && !within(at, directory):
			found.elsewhere = true
		}
	}
	return found
}

// whole reports whether the mount is of the whole volume, not of a subPath.
func (m *VolumeMount) whole() bool { return m.SubPath == "" && m.SubPathExpr == "" }

// isToken reports whether the volume with the name has the token.
func (p *patchBuilder) isToken(name string) bool {
	volume := p.volume(name)
	return volume != nil && p.credentialSpec.matchesVolume(volume, p.identity.Audience)
}

// volume returns the volume with the name in the patched pod, or nil. That includes the
// volume that the patch adds. A container can mount it by name, and the decision must be
// the same when the webhook is called again.
func (p *patchBuilder) volume(name string) *Volume {
	if p.volumes == nil {
		p.volumes = make(map[string]*Volume, len(p.pod.Spec.Volumes)+1)
		p.volumes[p.result.Volume] = p.credentialSpec.viewVolume(p.result.Volume, p.identity.Audience)
		for i := range slices.Backward(p.pod.Spec.Volumes) { // as in Spec.volume, the first one with a name counts
			p.volumes[p.pod.Spec.Volumes[i].Name] = &p.pod.Spec.Volumes[i]
		}
	}
	return p.volumes[name]
}

// findObstacle returns a description of what blocks a mount of the token in a directory,
// or "". It first checks the paths as written. Then it checks them for an image in which
// /var/run is a symbolic link to /run, because the webhook does not know the image.
func (p *patchBuilder) findObstacle(c *Container, directory string) string {
	if obstacle := p.findObstacleIn(c, directory, false); obstacle != "" || p.windows || p.mountsAt(c, "/var") {
		return obstacle // with a mount at /var the image's link is hidden
	}
	return p.findObstacleIn(c, directory, true)
}

// findObstacleIn is findObstacle for an image with or without the link.
func (p *patchBuilder) findObstacleIn(c *Container, directory string, link bool) string {
	token := resolve(p.normalizePath(directory), link)
	parent, depth, there := "", 0, false
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		spelt := p.normalizePath(m.MountPath)
		at := resolve(spelt, link)
		there = there || at == token
		if at == token && (!m.whole() || !p.isToken(m.Name)) || below(at, token) && !p.fitsInto(directory, m) {
			return m.String()
		}
		if !below(token, at) || p.windows {
			continue
		}
		// Runtimes mount in the order of the number of names in the path. So the token is
		// mounted in the parent with the most names.
		if names := strings.Count(spelt, "/"); names > depth {
			parent, depth = "", names
		} else if names < depth {
			continue
		}
		if parent == "" && !p.takesMountPoint(c, directory, m) {
			parent = m.String()
		}
	}
	for i := range c.VolumeDevices {
		spelt := p.normalizePath(c.VolumeDevices[i].DevicePath)
		at, device := resolve(spelt, link), "a block device at "+c.VolumeDevices[i].DevicePath
		if within(at, token) {
			return device
		}
		// At a parent of the path, a device blocks like a file.
		if names := strings.Count(spelt, "/"); below(token, at) && !p.windows && (names > depth || names == depth && parent == "") {
			parent, depth = device, names
		}
	}
	if there {
		return "" // the token is mounted, so no parent blocks it
	}
	return parent
}

// resolve resolves a clean path in an image. link reports whether /var/run is a symbolic
// link to /run in the image.
func resolve(path string, link bool) string {
	if link && within(path, "/var/run") {
		return path[len("/var"):]
	}
	return path
}

// within reports whether a path is dir or below dir. Both must be clean.
func within(path, dir string) bool {
	return path == dir || below(path, dir)
}

// below reports whether a path is below dir. Both must be clean.
func below(path, dir string) bool {
	return len(path) > len(dir) && strings.HasPrefix(path, dir) && (dir == "/" || path[len(dir)] == '/')
}

func (m *VolumeMount) String() string {
	return fmt.Sprintf("volume %q at %s", m.Name, m.MountPath)
}

// takesMountPoint reports whether the directory of the token exists or can be created in a
// volume that is mounted at a parent of it.
func (p *patchBuilder) takesMountPoint(c *Container, directory string, m *VolumeMount) bool {
	volume := p.volume(m.Name)
	switch {
	case volume == nil || volume.FromAPI:
		// These are read-only. The kubelet creates directories in them for mounts whose
		// path begins with the path of the volume (MakeNestedMountpoints in
		// k8s.io/kubernetes/pkg/volume/util). It does not do so through a link or in a
		// subPath. It does so when the pod starts, which is too early for ephemeral
		// containers.
		if p.ephemeral {
			return p.isCreatedBefore(c, directory, m)
		}
		return m.whole() && below(path.Clean(directory), path.Clean(m.MountPath)) && path.Clean(m.MountPath) != "/" &&
			!volume.hasName(path.Clean(directory)[len(path.Clean(m.MountPath))+1:])
	case volume.File || volume.ReadOnly:
		return false
	default:
		return !m.ReadOnly || p.isCreatedBefore(c, directory, m)
	}
}

// hasName reports whether a projected volume has a token or a field with the first name of
// a path. A directory that the kubelet creates would hide it.
func (v *Volume) hasName(directory string) bool {
	if v == nil || v.Projected == nil {
		return false
	}
	first := func(name string) string {
		name, _, _ = strings.Cut(path.Clean(name), "/")
		return name
	}
	return slices.ContainsFunc(v.Projected.Sources, func(s Source) bool {
		return s.ServiceAccountToken != nil && first(s.ServiceAccountToken.Path) == first(directory) ||
			s.DownwardAPI != nil && slices.ContainsFunc(s.DownwardAPI.Items, func(i DownwardAPIItem) bool { return first(i.Path) == first(directory) })
	})
}

// directory is the directory of the token in a subPath of a volume that is mounted at
// mountPath.
type directory struct{ token, volume, subPath, mountPath string }

// isCreatedBefore reports whether a container that starts before c has the token in the
// same subPath of the same volume. Then the directory exists for c, even if c cannot
// write.
func (p *patchBuilder) isCreatedBefore(c *Container, token string, m *VolumeMount) bool {
	if p.created == nil {
		p.findCreated()
	}
	first, created := p.created[directory{token, m.Name, m.SubPath, p.normalizePath(m.MountPath)}]
	started, inPod := p.started[c]
	return created && m.SubPathExpr == "" && (first < started || !inPod)
}

// findCreated sets created and started. It finds for each mount that will contain the
// token the first container of the pod that has it.
func (p *patchBuilder) findCreated() {
	p.created, p.started = map[directory]int{}, map[*Container]int{}
	for _, containers := range [][]Container{p.pod.Spec.InitContainers, p.pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			p.started[c] = len(p.started)
			if p.containerFilter.reason(c.Name) != "" {
				continue
			}
			to := p.findPlace(c)
			if !to.mounts.atTokenPath && (to.mounts.obstacle != "" || to.hasToken() || to.env.isComplete()) {
				continue // the container does not get the token there
			}
			if m := p.findParent(c, to.directory); m != nil && m.SubPathExpr == "" {
				at := directory{to.directory, m.Name, m.SubPath, p.normalizePath(m.MountPath)}
				if _, known := p.created[at]; !known {
					p.created[at] = p.started[c]
				}
			}
		}
	}
}

// findParent returns the mount in which the directory of the token is created. It returns
// nil if there is none or if it is ambiguous.
func (p *patchBuilder) findParent(c *Container, directory string) (parent *VolumeMount) {
	link := !p.mountsAt(c, "/var")
	token, depth := resolve(p.normalizePath(directory), link), 0
	for i := range c.VolumeMounts {
		spelt := p.normalizePath(c.VolumeMounts[i].MountPath)
		names := strings.Count(spelt, "/")
		switch {
		case names < depth || !below(token, resolve(spelt, link)):
		case names == depth:
			parent = nil
		default:
			parent, depth = &c.VolumeMounts[i], names
		}
	}
	return parent
}

// fitsInto reports whether a mount below the directory of the token can be in the token's
// volume. The kubelet creates a directory there for the path of the mount, but not through
// a link. The directory cannot have the name of a file of the volume, and no file can be
// mounted on it.
func (p *patchBuilder) fitsInto(directory string, m *VolumeMount) bool {
	directory, at := path.Clean(directory), path.Clean(m.MountPath)
	if p.windows || p.ephemeral || !below(at, directory) {
		return false
	}
	if volume := p.volume(m.Name); volume != nil && (volume.File || volume.FromAPI && !m.whole()) {
		return false
	}
	name, _, _ := strings.Cut(at[len(directory)+1:], "/")
	file, _, _ := strings.Cut(path.Clean(p.credentialSpec.file), "/")
	return name != file && (p.credentialSpec.config == "" || name != configFile) && !strings.HasPrefix(name, "..")
}
