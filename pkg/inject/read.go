package inject

import (
	"bytes"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// patchBytes is the measured memory of a container's part of a usual patch until it is
// sent. The patch is in memory twice, once in base64, in growing buffers.
const patchBytes = 1100

// ReadPod reads the JSON of a pod, without a memory limit. It returns the error of
// jsonreader.Read if that fails.
func ReadPod(document []byte) (*Pod, error) {
	pod := new(Pod)
	if err := jsonreader.Read(document, math.MaxInt, pod.Read); err != nil {
		return nil, err
	}
	return pod, nil
}

// Read reads the pod at the position of r.
func (p *Pod) Read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "metadata":
			p.Metadata.read(r)
		case "spec":
			p.Spec.read(r)
		}
	}
}

// isRelevant reports whether a decision can depend on the value of a pod's annotation. That
// is the case for the annotations of the webhook with any prefix, or without one by
// mistake. Other annotations are not read, because they can be large.
func isRelevant(annotation string) bool {
	slash := strings.LastIndexByte(annotation, '/')
	switch annotation[slash+1:] {
	case identity.TokenExpirationAnnotation, identity.RoleSessionNameAnnotation,
		identity.SkipContainersAnnotation, identity.IncludeContainersAnnotation:
		return true
	default:
		return slash <= 0 || annotation == configAnnotation
	}
}

func (m *Metadata) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "name":
			m.Name = r.String()
		case "generateName":
			m.GenerateName = r.String()
		case "labels":
			m.Labels = r.Strings(nil)
		case "annotations":
			m.Annotations = r.Strings(isRelevant)
		}
	}
}

func (s *Spec) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "serviceAccountName":
			s.ServiceAccountName = r.String()
		case "nodeSelector":
			s.NodeSelector = r.Strings(nil)
		case "os":
			s.OS = jsonreader.Pointer(r, (*OS).read)
		case "volumes":
			s.Volumes = jsonreader.List(r, 0, (*Volume).read)
		case "initContainers":
			s.InitContainers = jsonreader.List(r, patchBytes, (*Container).read)
		case "containers":
			s.Containers = jsonreader.List(r, patchBytes, (*Container).read)
		case "ephemeralContainers":
			s.EphemeralContainers = jsonreader.List(r, patchBytes, (*Container).read)
		}
	}
}

func (os *OS) read(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "name" {
			os.Name = r.String()
		}
	}
}

func (v *Volume) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "name":
			v.Name = r.String()
		case "projected":
			v.Projected = jsonreader.Pointer(r, (*Projected).read)
			v.FromAPI = v.FromAPI || v.Projected != nil
		case "secret", "configMap", "downwardAPI":
			v.FromAPI = v.FromAPI || !r.Null()
		case "image":
			v.ReadOnly = v.ReadOnly || !r.Null()
		case "hostPath":
			v.readHostPath(r)
		// Kinds with a field readOnly (k8s.io/api/core/v1, VolumeSource).
		case "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "gcePersistentDisk",
			"glusterfs", "iscsi", "nfs", "persistentVolumeClaim", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos":
			v.readReadOnly(r)
		}
	}
}

func (v *Volume) readHostPath(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "type" {
			switch corev1.HostPathType(r.String()) { //nolint:exhaustive // the others are directories
			case corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev:
				v.File = true
			}
		}
	}
}

func (v *Volume) readReadOnly(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "readOnly" && r.Bool() {
			v.ReadOnly = true
		}
	}
}

func (p *Projected) read(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "sources" {
			p.Sources = jsonreader.List(r, 0, (*Source).read)
		}
	}
}

func (s *Source) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "serviceAccountToken":
			s.ServiceAccountToken = jsonreader.Pointer(r, (*ServiceAccountToken).read)
		case "downwardAPI":
			s.DownwardAPI = jsonreader.Pointer(r, (*DownwardAPI).read)
		}
	}
}

func (t *ServiceAccountToken) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "audience":
			t.Audience = r.String()
		case "path":
			t.Path = r.String()
		}
	}
}

func (d *DownwardAPI) read(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "items" {
			d.Items = jsonreader.List(r, 0, (*DownwardAPIItem).read)
		}
	}
}

func (i *DownwardAPIItem) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "path":
			i.Path = r.String()
		case "fieldRef":
			i.FieldRef = jsonreader.Pointer(r, (*FieldRef).read)
		}
	}
}

func (f *FieldRef) read(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "fieldPath" {
			f.FieldPath = r.String()
		}
	}
}

func (c *Container) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "name":
			c.Name = r.String()
		case "env":
			c.Env = readEnv(r)
		case "envFrom":
			for range r.Elements {
				c.HasEnvFrom = true
			}
		case "volumeMounts":
			c.VolumeMounts = jsonreader.List(r, 0, (*VolumeMount).read)
		case "volumeDevices":
			c.VolumeDevices = jsonreader.List(r, 0, (*VolumeDevice).read)
		}
	}
}

func (m *VolumeMount) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "name":
			m.Name = r.String()
		case "mountPath":
			m.MountPath = r.String()
		case "subPath":
			m.SubPath = r.String()
		case "subPathExpr":
			m.SubPathExpr = r.String()
		case "readOnly":
			m.ReadOnly = r.Bool()
		}
	}
}

func (d *VolumeDevice) read(r *jsonreader.Reader) {
	for name := range r.Members {
		if string(name) == "devicePath" {
			d.DevicePath = r.String()
		}
	}
}

// readEnv reads only the variables that a decision depends on, because a large pod has
// hundreds of others.
func readEnv(r *jsonreader.Reader) Env {
	const size = 3 * 40 // of an EnvVar in a growing slice
	if r.Null() {
		return nil
	}
	env := Env{}
	for range r.Elements {
		var variable EnvVar
		other := false // whether the name is known not to have envPrefix
		for name := range r.Members {
			switch string(name) {
			case "name":
				variable.Name = readEnvName(r)
				other = variable.Name == ""
			case "value":
				if !other {
					variable.Value = r.String()
				}
			case "valueFrom":
				variable.FromElsewhere = !r.Null()
			}
		}
		if variable.Name != "" && r.Take(size) {
			env = append(env, variable)
		}
	}
	return env
}

// readEnvName returns the name of a variable, or "" if it does not have envPrefix.
func readEnvName(r *jsonreader.Reader) string {
	quoted := r.Quoted()
	if !bytes.HasPrefix(quoted, []byte(`"`+envPrefix)) && !bytes.ContainsRune(quoted, '\\') {
		return ""
	}
	if name := r.Unquote(quoted); strings.HasPrefix(name, envPrefix) {
		return name
	}
	return ""
}
