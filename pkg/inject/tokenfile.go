package inject

import (
	"path"
	"slices"
	"strings"
)

// tokenVolumeOf returns the name of the volume with the token for the right audience that a
// container has at a path. It returns "" if the file is something else, does not exist, or
// is unknown. It compares mounts and the paths in the volume, not names of volumes. part
// reports whether the container mounts only a part of the volume, by subPath.
func (p *patchBuilder) tokenVolumeOf(c *Container, file string) (name string, part bool) {
	if !p.isPlainPath(file) {
		return "", false
	}
	file = p.normalizePath(file)
	var mount *VolumeMount
	directory := ""
	for i := range c.VolumeMounts {
		at := p.normalizePath(c.VolumeMounts[i].MountPath)
		// A mount hides mounts at its parents, and earlier mounts at the same path.
		if isWithin(file, at) && len(at) >= len(directory) {
			mount, directory = &c.VolumeMounts[i], at
		}
	}
	if mount == nil || slices.ContainsFunc(c.VolumeDevices, func(d VolumeDevice) bool { return isWithin(file, p.normalizePath(d.DevicePath)) }) {
		return "", false
	}
	// The kubelet expands variables in subPathExpr. Without variables it is like subPath.
	if strings.Contains(mount.SubPathExpr, "$") {
		return "", false
	}
	inVolume := path.Join(mount.SubPath, mount.SubPathExpr, strings.TrimPrefix(file, directory))
	volume := p.volume(mount.Name)
	if volume == nil || volume.Projected == nil {
		return "", false
	}
	// If two sources have the same path, the kubelet keeps the last one.
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

// isPlainPath reports whether the value of a variable is an absolute path of a file that
// does not change before the process uses it. The kubelet expands $(NAME). The meaning of
// ".." depends on links in the image. A path that ends in "/" is not a file.
func (p *patchBuilder) isPlainPath(file string) bool {
	if strings.Contains(file, "$") {
		return false
	}
	if p.windows {
		file = normalizeWindowsPath(file)
	}
	return strings.HasPrefix(file, "/") && !strings.HasSuffix(file, "/") && !slices.Contains(strings.Split(file, "/"), "..")
}

// isSameFile reports whether two paths in a volume are the same file.
func (p *patchBuilder) isSameFile(a, b string) bool {
	a, b = path.Clean("/"+a), path.Clean("/"+b)
	return a == b || p.windows && strings.EqualFold(a, b)
}

// isWithin reports whether a path is a directory or below it. Both must be results of
// normalizePath.
func isWithin(file, directory string) bool {
	return file == directory || strings.HasPrefix(file, strings.TrimSuffix(directory, "/")+"/")
}
