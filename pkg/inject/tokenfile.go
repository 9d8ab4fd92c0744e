package inject

import (
	"path"
	"slices"
	"strings"
)

// tokenVolumeOf returns the volume whose token for the right audience a container
// reads at a path, or "" if it reads something else there, nothing, or what cannot be
// known. The mount, the subPath and the path of the token in its volume count, names
// do not.
func (p *plan) tokenVolumeOf(c *Container, file string) string {
	if !p.isPlainPath(file) {
		return ""
	}
	file = p.spelt(file)
	var mount *VolumeMount
	folder := ""
	for i := range c.VolumeMounts {
		at := p.spelt(c.VolumeMounts[i].MountPath)
		// A mount hides those above it, and those before it at the same path.
		if isWithin(file, at) && len(at) >= len(folder) {
			mount, folder = &c.VolumeMounts[i], at
		}
	}
	if mount == nil || slices.ContainsFunc(c.VolumeDevices, func(d VolumeDevice) bool { return isWithin(file, p.spelt(d.DevicePath)) }) {
		return ""
	}
	// The kubelet expands variables in subPathExpr; without any it is a subPath.
	if strings.Contains(mount.SubPathExpr, "$") {
		return ""
	}
	inVolume := path.Join(mount.SubPath, mount.SubPathExpr, strings.TrimPrefix(file, folder))
	volume := p.volume(mount.Name)
	if volume == nil || volume.Projected == nil {
		return ""
	}
	for i := range volume.Projected.Sources {
		t := volume.Projected.Sources[i].ServiceAccountToken
		if t != nil && t.Audience == p.identity.Audience && p.isSameFile(t.Path, inVolume) {
			return volume.Name
		}
	}
	return ""
}

// isPlainPath reports whether a variable's value is an absolute path that a process
// sees as it is written: the kubelet expands $(NAME), and what ".." leads to depends
// on links in the image.
func (p *plan) isPlainPath(file string) bool {
	if strings.Contains(file, "$") {
		return false
	}
	if p.windows {
		file = slashed(file)
	}
	return strings.HasPrefix(file, "/") && !slices.Contains(strings.Split(file, "/"), "..")
}

// isSameFile reports whether two paths in a volume lead to one file.
func (p *plan) isSameFile(a, b string) bool {
	a, b = path.Clean("/"+a), path.Clean("/"+b)
	return a == b || p.windows && strings.EqualFold(a, b)
}

// isWithin reports whether a path is that of a folder, or below it. Both are as spelt
// returns them.
func isWithin(file, folder string) bool {
	return file == folder || strings.HasPrefix(file, strings.TrimSuffix(folder, "/")+"/")
}
