package inject

// Pod is the view of a pod that a decision needs, in the field names of the
// core/v1 API. It is decoded from the pod's JSON; whatever it does not name is
// skipped, and stays as it is, since a patch only ever adds.
type Pod struct {
	Metadata Metadata `json:"metadata"`
	Spec     Spec     `json:"spec"`
}

// Metadata is the view of a pod's metadata.
type Metadata struct {
	Name         string            `json:"name"`
	GenerateName string            `json:"generateName"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
}

// Spec is the view of a pod's spec.
type Spec struct {
	ServiceAccountName string            `json:"serviceAccountName"`
	NodeSelector       map[string]string `json:"nodeSelector"`
	OS                 *OS               `json:"os"`
	Volumes            []Volume          `json:"volumes"`
	InitContainers     []Container       `json:"initContainers"`
	Containers         []Container       `json:"containers"`
	// EphemeralContainers are those that kubectl debug adds to a running pod.
	EphemeralContainers []Container `json:"ephemeralContainers"`
}

// OS is the view of the operating system that a pod is for.
type OS struct {
	Name string `json:"name"`
}

// Volume is the view of a volume: its name, and whether it holds a
// ServiceAccount token and an AWS configuration.
type Volume struct {
	Name      string     `json:"name"`
	Projected *Projected `json:"projected"`
}

// Projected is the view of a projected volume.
type Projected struct {
	Sources []Source `json:"sources"`
}

// Source is the view of one source of a projected volume.
type Source struct {
	ServiceAccountToken *ServiceAccountToken `json:"serviceAccountToken"`
	DownwardAPI         *DownwardAPI         `json:"downwardAPI"`
}

// DownwardAPI is the view of projected fields of the pod itself.
type DownwardAPI struct {
	Items []DownwardAPIItem `json:"items"`
}

// DownwardAPIItem is the view of one of them.
type DownwardAPIItem struct {
	Path     string    `json:"path"`
	FieldRef *FieldRef `json:"fieldRef"`
}

// FieldRef is the view of a reference to a field of the pod.
type FieldRef struct {
	FieldPath string `json:"fieldPath"`
}

// ServiceAccountToken is the view of a projected token.
type ServiceAccountToken struct {
	Audience string `json:"audience"`
	Path     string `json:"path"`
}

// Container is the view of a container.
type Container struct {
	Name          string         `json:"name"`
	Env           Env            `json:"env"`
	VolumeMounts  []VolumeMount  `json:"volumeMounts"`
	VolumeDevices []VolumeDevice `json:"volumeDevices"`
}

// VolumeMount is the view of a mount.
type VolumeMount struct {
	Name        string `json:"name"`
	MountPath   string `json:"mountPath"`
	SubPath     string `json:"subPath"`
	SubPathExpr string `json:"subPathExpr"`
}

// VolumeDevice is the view of a block device.
type VolumeDevice struct {
	DevicePath string `json:"devicePath"`
}
