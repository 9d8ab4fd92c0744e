package inject

// Pod is the view of a pod that a decision needs, with the field names of the core/v1 API.
// Other fields are not read, and stay unchanged because a patch only adds.
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

// OS is the view of the operating system of a pod.
type OS struct {
	Name string
}

// Volume is the view of a volume.
type Volume struct {
	Name string
	// Projected is nil for another kind of volume.
	Projected *Projected
	// FromAPI reports whether the kubelet writes the content. ReadOnly reports whether all
	// mounts are read-only. File reports whether it is a file of the node, not a directory.
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

// DownwardAPI is the view of projected fields of the pod.
type DownwardAPI struct {
	Items []DownwardAPIItem
}

// DownwardAPIItem is the view of one projected field.
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
	// HasEnvFrom reports whether the container has envFrom, whose variables are not in the
	// pod.
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

// envPrefix is the prefix of the names of variables that a decision depends on.
const envPrefix = "AWS_"

// Env is the view of a container's environment: the variables with envPrefix, in their
// order. It is nil if the list is absent. A large pod has hundreds of other variables.
type Env []EnvVar

// EnvVar is the view of an environment variable. FromElsewhere reports whether it has a
// valueFrom; its Value is empty then.
type EnvVar struct {
	Name, Value   string
	FromElsewhere bool
}
