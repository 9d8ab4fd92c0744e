package inject

import (
	"path"
	"slices"
	"strings"
)

// tokenVolumeOf returns the volume whose token for the right audience a container
// reads at a path, or "" if it reads something else there, nothing, or what cannot be
// known. The mount and the path of the token in its volume count, names do not. part
// reports whether it mounts only a part of that volume, by subPath.
func (p *patchBuilder) tokenVolumeOf(c *Container, file string) (name string, part bool) {
	if !p.isPlainPath(file) {
		return "", false
	}
	file = p.normalizePath(file)
	var mount *VolumeMount
	directory := ""
	for i := range c.VolumeMounts {
		at := p.normalizePath(c.VolumeMounts[i].MountPath)
		// A mount hides those above it, and those before it at the same path.
		if isWithin(file, at) && len(at) >= len(directory) {
			mount, directory = &c.VolumeMounts[i], at
		}
	}
	if mount == nil || slices.ContainsFunc(c.VolumeDevices, func(d VolumeDevice) bool { return isWithin(file, p.normalizePath(d.DevicePath)) }) {
		return "", false
	}
	// The kubelet expands variables in subPathExpr; without any it is a subPath.
	if strings.Contains(mount.SubPathExpr, "$") {
		return "", false
	}
	inVolume := path.Join(mount.SubPath, mount.SubPathExpr, strings.TrimPrefix(file, directory))
	volume := p.volume(mount.Name)
	if volume == nil || volume.Projected == nil {
		return "", false
	}
	// Of two sources with one path, the kubelet keeps the last.
	for _, source := range slices.Backward(volume.Projected.Sources) {
		if t := source.ServiceAccountToken; t != nil && p.isSameFile(t.Path, inVolume) {
			if t.Audience != p.identity.Audience {
				return "", false
			}
			return volume.Name, !mount.whole()
		}
	}
	return "", false
}

// isPlainPath reports whether a variable's value is the absolute path of a file that a
// process sees as it is written: the kubelet expands $(NAME), what ".." leads to depends
// on links in the image, and no file can be opened with "/" at the end of its path.
func (p *patchBuilder) isPlainPath(file string) bool {
	if strings.Contains(file, "$") {
		return false
	}
	if p.windows {
		file = normalizeWindowsPath(file)
	}
	return strings.HasPrefix(file, "/") && !strings.HasSuffix(file, "/") && !slices.Contains(strings.Split(file, "/"), "..")
}

// isSameFile reports whether two paths in a volume lead to one file.
func (p *patchBuilder) isSameFile(a, b string) bool {
	a, b = path.Clean("/"+a), path.Clean("/"+b)
	return a == b || p.windows && strings.EqualFold(a, b)
}

// isWithin reports whether a path is that of a directory, or below it. Both are as spelt
// returns them.
func isWithin(file, directory string) bool {
	return file == directory || strings.HasPrefix(file, strings.TrimSuffix(directory, "/")+"/")
}
