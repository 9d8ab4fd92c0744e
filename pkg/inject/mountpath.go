package inject

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// This file decides in which directory of a container the token is mounted: the usual
// one, or the fallback if the container could not start with a mount at the usual path,
// or would lose a mount of its own. docs/mounts.md has the observations that the rules
// are made from: each kind of volume at each parent of the path, on a real kubelet.

// place is what is decided about the token of one container.
type place struct {
	*credentialSpec
	// env and mounts are what the container says, compared with the delivery.
	env    environment
	mounts mounts
	// blocked says what blocks the usual path, and, if the delivery is not the
	// fallback, that one; it is empty if nothing does.
	blocked string
}

// findPlace chooses the delivery for a container: the usual one, unless the token is at
// the fallback path already, or cannot be mounted at the usual path. A container with an
// identity of its own would not look at the fallback path.
func (p *patchBuilder) findPlace(c *Container) place {
	usual := p.placeAt(c, &p.credentialSpec)
	blocked := usual.blocked != "" && !usual.env.identity
	switch {
	case p.usualDirectory != "": // the delivery is the fallback, for all containers
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

// fallback returns the delivery at the fallback path, which few pods need.
func (p *patchBuilder) fallback() *credentialSpec {
	if p.fallbackDelivery == nil {
		d := newCredentialSpec(p.pod, p.identity, p.settings, p.windows, p.settings.FallbackMountPath)
		p.fallbackDelivery = &d
	}
	return p.fallbackDelivery
}

// fixPath chooses one path for all containers of a pod with a chained role: the pod has
// one AWS configuration, which names the file of the token.
func (p *patchBuilder) fixPath() {
	if p.credentialSpec.config == "" {
		return
	}
	p.fixedPath = true
	if p.usesFallback() {
		p.usualDirectory, p.credentialSpec = p.credentialSpec.directory, *p.fallback()
	}
}

// usesFallback reports whether a pod with a chained role has, or is to have, its token
// at the fallback path. What the pod has already decides: the file that its
// configuration names, or else a mount of the token. The rest of a configuration may
// have changed since the webhook wrote it, or be the user's.
func (p *patchBuilder) usesFallback() bool {
	d := p.fallback()
	if config, exists := p.pod.Metadata.Annotations[configAnnotation]; exists {
		return strings.Contains(config, tokenFileLine(containerPath(d.directory, d.file, p.windows)))
	}
	isThere := func(c *Container) bool { return p.mountsAt(c, d.directory) && p.readMounts(c, d).atTokenPath }
	return p.anySelected(isThere) || p.isBlocked(&p.credentialSpec) && !p.isBlocked(d)
}

// isBlocked reports whether a container that needs the token cannot have it in the
// directory of d.
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

// hasToken reports whether a container has the token without a mount that the webhook
// adds. A container with variables of its own is expected to read the token where it
// mounts the token's volume.
func (at *place) hasToken() bool {
	return at.mounts.atTokenPath || at.env.tokenVolume != "" || at.env.differs && at.mounts.elsewhere
}

// mounts is what a container's mounts say about a directory for the token.
type mounts struct {
	// atTokenPath says that a token for the right audience, of whatever volume,
	// is mounted there, and no obstacle is; elsewhere that the token's volume is mounted
	// at another path.
	atTokenPath, elsewhere bool
	// obstacle describes what keeps the token from being mounted there, if anything.
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

// whole says whether the mount is of the volume, not of a part of it.
func (m *VolumeMount) whole() bool { return m.SubPath == "" && m.SubPathExpr == "" }

// isToken reports whether the volume of a name holds the token.
func (p *patchBuilder) isToken(name string) bool {
	volume := p.volume(name)
	return volume != nil && p.credentialSpec.matchesVolume(volume, p.identity.Audience)
}

// volume returns the volume that the pod has under a name in the end, or nil. A volume
// that is yet to be added counts: a container can mount it by name, and must be judged
// as it is when the webhook is called again.
func (p *patchBuilder) volume(name string) *Volume {
	if p.volumes == nil {
		p.volumes = make(map[string]*Volume, len(p.pod.Spec.Volumes)+1)
		p.volumes[p.result.Volume] = p.credentialSpec.viewVolume(p.result.Volume, p.identity.Audience)
		for i := range slices.Backward(p.pod.Spec.Volumes) { // as Spec.volume, the first of a name
			p.volumes[p.pod.Spec.Volumes[i].Name] = &p.pod.Spec.Volumes[i]
		}
	}
	return p.volumes[name]
}

// findObstacle describes what keeps the token from being mounted in a directory, or
// returns "". It takes the paths as they are, and then as they are in an image in
// which /var/run is a symbolic link to /run: the webhook does not know the image.
func (p *patchBuilder) findObstacle(c *Container, directory string) string {
	if obstacle := p.findObstacleIn(c, directory, false); obstacle != "" || p.windows || p.mountsAt(c, "/var") {
		return obstacle // a mount at /var hides the link
	}
	return p.findObstacleIn(c, directory, true)
}

// findObstacleIn is findObstacle for images with or without the link.
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
		// Runtimes mount in the order of the number of names in the paths. So of the
		// parents the one with most names is the one that the token comes to be in.
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
		// Above the path it counts as a file that is mounted there.
		if names := strings.Count(spelt, "/"); below(token, at) && !p.windows && (names > depth || names == depth && parent == "") {
			parent, depth = device, names
		}
	}
	if there {
		return "" // the token is there, and whatever is above it
	}
	return parent
}

// resolve returns what a clean path stands for in an image. link says that /var/run
// is a symbolic link to /run there.
func resolve(path string, link bool) string {
	if link && within(path, "/var/run") {
		return path[len("/var"):]
	}
	return path
}

// within says whether a path is dir or below it. Both are clean.
func within(path, dir string) bool {
	return path == dir || below(path, dir)
}

// below says whether a path is below dir. Both are clean.
func below(path, dir string) bool {
	return len(path) > len(dir) && strings.HasPrefix(path, dir) && (dir == "/" || path[len(dir)] == '/')
}

func (m *VolumeMount) String() string {
	return fmt.Sprintf("volume %q at %s", m.Name, m.MountPath)
}

// takesMountPoint says whether the directory of the token can be made in a volume that is
// mounted at a parent of it, or is there already.
func (p *patchBuilder) takesMountPoint(c *Container, directory string, m *VolumeMount) bool {
	volume := p.volume(m.Name)
	switch {
	case volume == nil || volume.FromAPI:
		// These are read-only. The kubelet makes directories in them for mounts whose
		// path begins with the volume's own: not through a link, and not in a part of
		// the volume (MakeNestedMountpoints in k8s.io/kubernetes/pkg/volume/util). It
		// does so when the pod starts, which is too early for ephemeral containers.
		if p.ephemeral {
			return p.isMadeBefore(c, directory, m)
		}
		return m.whole() && below(path.Clean(directory), path.Clean(m.MountPath)) && path.Clean(m.MountPath) != "/" &&
			!volume.hasName(path.Clean(directory)[len(path.Clean(m.MountPath))+1:])
	case volume.File || volume.ReadOnly:
		return false
	default:
		return !m.ReadOnly || p.isMadeBefore(c, directory, m)
	}
}

// hasName says whether a projected volume has a token or a field under the name that
// a path begins with: a directory of the kubelet's would hide it.
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

// directory is that of the token in a part of a volume, which is mounted at a path.
type directory struct{ token, volume, subPath, mountPath string }

// isMadeBefore says whether a container that starts before c has the token in the same
// part of the same volume: then c finds the directory there, even if c cannot write.
func (p *patchBuilder) isMadeBefore(c *Container, token string, m *VolumeMount) bool {
	if p.made == nil {
		p.findMade()
	}
	first, made := p.made[directory{token, m.Name, m.SubPath, p.normalizePath(m.MountPath)}]
	started, inPod := p.started[c]
	return made && m.SubPathExpr == "" && (first < started || !inPod)
}

// findMade notes for each mount that the token comes to be in, which of the containers
// that start with the pod is the first to have it.
func (p *patchBuilder) findMade() {
	p.made, p.started = map[directory]int{}, map[*Container]int{}
	for _, containers := range [][]Container{p.pod.Spec.InitContainers, p.pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			p.started[c] = len(p.started)
			if p.containerFilter.reason(c.Name) != "" {
				continue
			}
			to := p.findPlace(c)
			if !to.mounts.atTokenPath && (to.mounts.obstacle != "" || to.hasToken() || to.env.isComplete()) {
				continue // it does not get the token there
			}
			if m := p.findParent(c, to.directory); m != nil && m.SubPathExpr == "" {
				at := directory{to.directory, m.Name, m.SubPath, p.normalizePath(m.MountPath)}
				if _, known := p.made[at]; !known {
					p.made[at] = p.started[c]
				}
			}
		}
	}
}

// findParent returns the mount that the directory of the token is made in, or nil if
// there is none, or two could be it.
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

// fitsInto says whether a mount below the directory of the token can be in its volume.
// The kubelet makes a directory there for a mount by its path, but not through a link.
// It cannot bear the name of a file of the volume, and no file can be mounted on it.
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
