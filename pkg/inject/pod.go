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
	Volumes            []Volume          `json:"volumes"`
	InitContainers     []Container       `json:"initContainers"`
	Containers         []Container       `json:"containers"`
}

// Volume is the view of a volume: its name, and whether it holds a
// ServiceAccount token.
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
}

// ServiceAccountToken is the view of a projected token.
type ServiceAccountToken struct {
	Audience string `json:"audience"`
	Path     string `json:"path"`
}

// Container is the view of a container.
type Container struct {
	Name          string         `json:"name"`
	Env           []EnvVar       `json:"env"`
	VolumeMounts  []VolumeMount  `json:"volumeMounts"`
	VolumeDevices []VolumeDevice `json:"volumeDevices"`
}

// EnvVar is the view of an environment variable. Value is empty for one that
// comes from elsewhere.
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
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
