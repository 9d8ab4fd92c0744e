package inject

import (
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// patchBytes is what a container's part of a usual patch takes until it is sent, as
// measured: the patch is held twice, once of them in base64, in buffers that grow.
const patchBytes = 1100

// decides says whether the value of a pod's annotation may matter to a decision: one of
// ours, under any prefix, or one that has none by mistake.
func decides(annotation string) bool {
	slash := strings.LastIndexByte(annotation, '/')
	switch annotation[slash+1:] {
	case identity.TokenExpirationAnnotation, identity.RoleSessionNameAnnotation,
		identity.SkipContainersAnnotation, identity.IncludeContainersAnnotation:
		return true
	default:
		return slash <= 0 || annotation == configAnnotation
	}
}

// ReadPod reads a pod's JSON.
func ReadPod(document []byte) (*Pod, error) {
	pod := new(Pod)
	if err := skim.Read(document, math.MaxInt, pod.Read); err != nil {
		return nil, err
	}
	return pod, nil
}

// Read reads the pod that r is at.
func (p *Pod) Read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "metadata":
			p.Metadata.read(r)
		case "spec":
			p.Spec.read(r)
		}
	}
}

func (m *Metadata) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "name":
			m.Name = r.Text()
		case "generateName":
			m.GenerateName = r.Text()
		case "labels":
			m.Labels = r.Texts(nil)
		case "annotations":
			m.Annotations = r.Texts(decides)
		}
	}
}

func (s *Spec) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "serviceAccountName":
			s.ServiceAccountName = r.Text()
		case "nodeSelector":
			s.NodeSelector = r.Texts(nil)
		case "os":
			s.OS = skim.Pointer(r, (*OS).read)
		case "volumes":
			s.Volumes = skim.List(r, (*Volume).read)
		case "initContainers":
			s.InitContainers = skim.List(r, (*Container).read)
		case "containers":
			s.Containers = skim.List(r, (*Container).read)
		case "ephemeralContainers":
			s.EphemeralContainers = skim.List(r, (*Container).read)
		}
	}
}

func (os *OS) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "name" {
			os.Name = r.Text()
		}
	}
}

func (v *Volume) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "name":
			v.Name = r.Text()
		case "projected":
			v.Projected = skim.Pointer(r, (*Projected).read)
			v.FromAPI = v.FromAPI || v.Projected != nil
		case "secret", "configMap", "downwardAPI":
			v.FromAPI = v.FromAPI || !r.Null()
		case "image":
			v.ReadOnly = v.ReadOnly || !r.Null()
		case "hostPath":
			v.readHostPath(r)
		// The kinds that have a field readOnly (k8s.io/api/core/v1, VolumeSource).
		case "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "fc", "flexVolume", "gcePersistentDisk",
			"glusterfs", "iscsi", "nfs", "persistentVolumeClaim", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos":
			v.readReadOnly(r)
		}
	}
}

func (v *Volume) readHostPath(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "type" {
			switch corev1.HostPathType(r.Text()) { //nolint:exhaustive // the others are directories
			case corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev:
				v.File = true
			}
		}
	}
}

func (v *Volume) readReadOnly(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "readOnly" && r.Bool() {
			v.ReadOnly = true
		}
	}
}

func (p *Projected) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "sources" {
			p.Sources = skim.List(r, (*Source).read)
		}
	}
}

func (s *Source) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "serviceAccountToken":
			s.ServiceAccountToken = skim.Pointer(r, (*ServiceAccountToken).read)
		case "downwardAPI":
			s.DownwardAPI = skim.Pointer(r, (*DownwardAPI).read)
		}
	}
}

func (t *ServiceAccountToken) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "audience":
			t.Audience = r.Text()
		case "path":
			t.Path = r.Text()
		}
	}
}

func (d *DownwardAPI) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "items" {
			d.Items = skim.List(r, (*DownwardAPIItem).read)
		}
	}
}

func (i *DownwardAPIItem) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "path":
			i.Path = r.Text()
		case "fieldRef":
			i.FieldRef = skim.Pointer(r, (*FieldRef).read)
		}
	}
}

func (f *FieldRef) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "fieldPath" {
			f.FieldPath = r.Text()
		}
	}
}

func (c *Container) read(r *skim.Reader) {
	r.Spend(patchBytes)
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "name":
			c.Name = r.Text()
		case "env":
			c.Env = readEnv(r)
		case "envFrom":
			for list := r.Array(); list.Next(); {
				c.HasEnvFrom = true
			}
		case "volumeMounts":
			c.VolumeMounts = skim.List(r, (*VolumeMount).read)
		case "volumeDevices":
			c.VolumeDevices = skim.List(r, (*VolumeDevice).read)
		}
	}
}

func (m *VolumeMount) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "name":
			m.Name = r.Text()
		case "mountPath":
			m.MountPath = r.Text()
		case "subPath":
			m.SubPath = r.Text()
		case "subPathExpr":
			m.SubPathExpr = r.Text()
		case "readOnly":
			m.ReadOnly = r.Bool()
		}
	}
}

func (d *VolumeDevice) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == "devicePath" {
			d.DevicePath = r.Text()
		}
	}
}
