package inject

// Pod is the view of a pod that a decision needs, in the field names of the
// core/v1 API. It is read from the pod's JSON; whatever it does not name is
// skipped, and stays as it is, since a patch only ever adds.
type Pod struct {
	Metadata Metadata
	Spec     Spec
}

// Metadata is the view of a pod's metadata.
type Metadata struct {
	Name         string
	GenerateName string
	Labels       map[string]string
	// Annotations of a pod have the values that decide something, and else empty ones:
	// they may be large.
	Annotations map[string]string
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

// Volume is the view of a volume: its name, whether it holds a ServiceAccount token
// and an AWS configuration, and what decides whether the token can be mounted in it.
type Volume struct {
	Name      string
	Projected *Projected
	// FromAPI reports whether the kubelet writes the content of the volume: that of
	// a Secret, a ConfigMap, a downwardAPI or a projected volume.
	FromAPI bool
	// ReadOnly reports whether each mount of the volume is read-only.
	ReadOnly bool
	// File reports whether the volume is a file of the node, not a directory.
	File bool
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
	// HasEnvFrom says that it has variables that a pod does not show.
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
