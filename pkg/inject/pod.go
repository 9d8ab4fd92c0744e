package inject

// Pod is the view of a pod that a decision needs, in the field names of the
// core/v1 API. Whatever it does not name is skipped, and stays as it is, since a
// patch only ever adds.
type Pod struct {
	Metadata Metadata
	Spec     Spec
}

// Metadata is the view of a pod's metadata.
type Metadata struct {
	Name         string
	GenerateName string
	Labels       map[string]string
	Annotations  map[string]string
}

// Spec is the view of a pod's spec.
type Spec struct {
	ServiceAccountName string
	NodeSelector       map[string]string
	OS                 *OS
	Volumes            []Volume
	InitContainers     []Container
	Containers         []Container
	// EphemeralContainers are those that kubectl debug adds to a running pod.
	EphemeralContainers []Container
}

// OS is the view of the operating system that a pod is for.
type OS struct {
	Name string
}

// Volume is the view of a volume.
type Volume struct {
	Name string
	// Projected is nil for another kind of volume.
	Projected *Projected
	// FromAPI reports whether the kubelet writes the content, ReadOnly whether each mount
	// is read-only, and File whether it is a file of the node, not a directory.
	FromAPI, ReadOnly, File bool
}

// Projected is the view of a projected volume.
type Projected struct {
	Sources []Source
}

// Source is the view of one source of a projected volume.
type Source struct {
	ServiceAccountToken *ServiceAccountToken
	DownwardAPI         *DownwardAPI
}

// DownwardAPI is the view of projected fields of the pod itself.
type DownwardAPI struct {
	Items []DownwardAPIItem
}

// DownwardAPIItem is the view of one of them.
type DownwardAPIItem struct {
	Path     string
	FieldRef *FieldRef
}

// FieldRef is the view of a reference to a field of the pod.
type FieldRef struct {
	FieldPath string
}

// ServiceAccountToken is the view of a projected token.
type ServiceAccountToken struct {
	Audience string
	Path     string
}

// Container is the view of a container.
type Container struct {
	Name string
	Env  Env
	// HasEnvFrom reports whether it has variables that a pod does not show.
	HasEnvFrom    bool
	VolumeMounts  []VolumeMount
	VolumeDevices []VolumeDevice
}

// VolumeMount is the view of a mount.
type VolumeMount struct {
	Name        string
	MountPath   string
	SubPath     string
	SubPathExpr string
	ReadOnly    bool
}

// VolumeDevice is the view of a block device.
type VolumeDevice struct {
	DevicePath string
}

// envPrefix begins the name of each variable that a decision looks at.
const envPrefix = "AWS_"

// Env is the view of a container's environment: its variables whose name begins
// with envPrefix, in their order. It is nil if the list is absent. A large pod has
// hundreds of others.
type Env []EnvVar

// EnvVar is the view of an environment variable. FromElsewhere reports whether it has a
// valueFrom; its Value is empty then.
type EnvVar struct {
	Name, Value   string
	FromElsewhere bool
}
