package inject

import (
	"bytes"
	"math"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/boundedjson"
)

// Pod is the view of a pod that a decision needs, in the field names of the
// core/v1 API. Whatever it does not name is skipped, and stays as it is, since a
// patch only ever adds.
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

// Volume is the view of a volume: its name, whether it holds a ServiceAccount token
// and an AWS configuration, and what decides whether the token can be mounted in it.
type Volume struct {
	Name        string     `json:"name"`
	Projected   *Projected `json:"projected"`
	Secret      *struct{}  `json:"secret"`
	ConfigMap   *struct{}  `json:"configMap"`
	DownwardAPI *struct{}  `json:"downwardAPI"`
	Image       *struct{}  `json:"image"`
	HostPath    *HostPath  `json:"hostPath"`

	// The kinds that have a field readOnly (k8s.io/api/core/v1, VolumeSource).
	AWSElasticBlockStore  *OptionallyReadOnly `json:"awsElasticBlockStore"`
	AzureDisk             *OptionallyReadOnly `json:"azureDisk"`
	AzureFile             *OptionallyReadOnly `json:"azureFile"`
	CephFS                *OptionallyReadOnly `json:"cephfs"`
	Cinder                *OptionallyReadOnly `json:"cinder"`
	CSI                   *OptionallyReadOnly `json:"csi"`
	FC                    *OptionallyReadOnly `json:"fc"`
	FlexVolume            *OptionallyReadOnly `json:"flexVolume"`
	GCEPersistentDisk     *OptionallyReadOnly `json:"gcePersistentDisk"`
	Glusterfs             *OptionallyReadOnly `json:"glusterfs"`
	ISCSI                 *OptionallyReadOnly `json:"iscsi"`
	NFS                   *OptionallyReadOnly `json:"nfs"`
	PersistentVolumeClaim *OptionallyReadOnly `json:"persistentVolumeClaim"`
	PortworxVolume        *OptionallyReadOnly `json:"portworxVolume"`
	Quobyte               *OptionallyReadOnly `json:"quobyte"`
	RBD                   *OptionallyReadOnly `json:"rbd"`
	ScaleIO               *OptionallyReadOnly `json:"scaleIO"`
	StorageOS             *OptionallyReadOnly `json:"storageos"`
}

// HostPath is the view of a path of the node.
type HostPath struct {
	Type corev1.HostPathType `json:"type"`
}

// OptionallyReadOnly is the view of a volume of which all mounts can be made read-only.
type OptionallyReadOnly struct {
	ReadOnly bool `json:"readOnly"`
}

// isFromAPI reports whether the kubelet writes the content of the volume.
func (v *Volume) isFromAPI() bool {
	return v.Projected != nil || v.Secret != nil || v.ConfigMap != nil || v.DownwardAPI != nil
}

// isReadOnly reports whether each mount of the volume is read-only.
func (v *Volume) isReadOnly() bool {
	if v.Image != nil {
		return true
	}
	for _, source := range [...]*OptionallyReadOnly{
		v.AWSElasticBlockStore, v.AzureDisk, v.AzureFile, v.CephFS, v.Cinder, v.CSI, v.FC, v.FlexVolume, v.GCEPersistentDisk,
		v.Glusterfs, v.ISCSI, v.NFS, v.PersistentVolumeClaim, v.PortworxVolume, v.Quobyte, v.RBD, v.ScaleIO, v.StorageOS,
	} {
		if source != nil && source.ReadOnly {
			return true
		}
	}
	return false
}

// isFile reports whether the volume is a file of the node, not a directory.
func (v *Volume) isFile() bool {
	if v.HostPath == nil {
		return false
	}
	switch v.HostPath.Type {
	case corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev:
		return true
	default:
		return false
	}
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
	Name string `json:"name"`
	Env  Env    `json:"env"`
	// EnvFrom is not empty if it has variables that a pod does not show.
	EnvFrom       []struct{}     `json:"envFrom"`
	VolumeMounts  []VolumeMount  `json:"volumeMounts"`
	VolumeDevices []VolumeDevice `json:"volumeDevices"`
}

// VolumeMount is the view of a mount.
type VolumeMount struct {
	Name        string `json:"name"`
	MountPath   string `json:"mountPath"`
	SubPath     string `json:"subPath"`
	SubPathExpr string `json:"subPathExpr"`
	ReadOnly    bool   `json:"readOnly"`
}

// VolumeDevice is the view of a block device.
type VolumeDevice struct {
	DevicePath string `json:"devicePath"`
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

// decodeEnv decodes environments.
func decodeEnv(b *boundedjson.Budget) *json.Unmarshalers {
	const size = 3 * 40 // of an EnvVar in a list that grows
	return json.UnmarshalFromFunc(func(d *jsontext.Decoder, env *Env) error {
		*env = nil
		return boundedjson.Each(d, func() error {
			raw, err := d.ReadValue()
			if err != nil {
				return err
			}
			// Most variables are of no interest, and to decode them is most of the work
			// with a large pod. A name can be written with escapes.
			if raw.Kind() == '{' && !bytes.Contains(raw, []byte(envPrefix)) && !bytes.Contains(raw, []byte(`\u`)) {
				return nil
			}
			var variable struct {
				Name      string         `json:"name"`
				Value     string         `json:"value"`
				ValueFrom jsontext.Value `json:"valueFrom"`
			}
			if err := json.Unmarshal(raw, &variable, d.Options()); err != nil {
				return err
			}
			if !strings.HasPrefix(variable.Name, envPrefix) {
				return nil
			}
			elsewhere := len(variable.ValueFrom) > 0 && variable.ValueFrom.Kind() != 'n'
			*env = append(*env, EnvVar{Name: variable.Name, Value: variable.Value, FromElsewhere: elsewhere})
			return b.Take(0, size)
		}, func() { *env = Env{} })
	})
}

// patchBytes is what a container's part of a usual patch takes until it is sent, as
// measured: the patch is held twice, once of them in base64, in buffers that grow.
const patchBytes = 1100

// Lists returns how to decode the lists of a pod.
func Lists() []func(*boundedjson.Budget) *json.Unmarshalers {
	return []func(*boundedjson.Budget) *json.Unmarshalers{
		boundedjson.List[Volume](0), boundedjson.List[Source](0), boundedjson.List[DownwardAPIItem](0),
		boundedjson.List[Container](patchBytes), boundedjson.List[VolumeMount](0), boundedjson.List[VolumeDevice](0),
		boundedjson.List[struct{}](0), decodeEnv,
	}
}

// ReadPod decodes a pod's JSON, without a bound.
func ReadPod(document []byte) (*Pod, error) {
	pod := new(Pod)
	if err := boundedjson.NewDecoder(Lists()...).Decode(document, pod, math.MaxInt); err != nil {
		return nil, err
	}
	return pod, nil
}
