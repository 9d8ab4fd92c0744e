package inject_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// viewOf returns the expected inject.Pod of a pod.
func viewOf(pod *corev1.Pod) *inject.Pod {
	return &inject.Pod{
		Metadata: inject.Metadata{
			Name:         pod.Name,
			GenerateName: pod.GenerateName,
			Labels:       pod.Labels,
			Annotations:  viewOfAnnotations(pod.Annotations),
		},
		Spec: inject.Spec{
			ServiceAccountName: pod.Spec.ServiceAccountName,
			NodeSelector:       pod.Spec.NodeSelector,
			OS:                 viewOfOS(pod.Spec.OS),
			Volumes:            viewOfEach(pod.Spec.Volumes, viewOfVolume),
			InitContainers:     viewOfEach(pod.Spec.InitContainers, viewOfContainer),
			Containers:         viewOfEach(pod.Spec.Containers, viewOfContainer),
			EphemeralContainers: viewOfEach(pod.Spec.EphemeralContainers, func(c *corev1.EphemeralContainer) inject.Container {
				common := corev1.Container(c.EphemeralContainerCommon)
				return viewOfContainer(&common)
			}),
		},
	}
}

// viewOfAnnotations returns the annotations that a decision reads.
func viewOfAnnotations(annotations map[string]string) map[string]string {
	decides := regexp.MustCompile(`^/?[^/]*$|(^|/)(token-expiration|role-session-name|skip-containers|include-containers)$|^eks\.amazonaws\.com/aws-config$`)
	view := maps.Clone(annotations)
	for name := range view {
		if !decides.MatchString(name) {
			view[name] = ""
		}
	}
	return view
}

func viewOfOS(os *corev1.PodOS) *inject.OS {
	if os == nil {
		return nil
	}
	return &inject.OS{Name: string(os.Name)}
}

// viewOfEach returns nil for an absent list and an empty list for an empty one.
func viewOfEach[Element, View any](list []Element, view func(*Element) View) []View {
	if list == nil {
		return nil
	}
	views := make([]View, 0, len(list))
	for i := range list {
		views = append(views, view(&list[i]))
	}
	return views
}

func viewOfVolume(volume *corev1.Volume) inject.Volume {
	view := inject.Volume{
		Name:    volume.Name,
		FromAPI: volume.Secret != nil || volume.ConfigMap != nil || volume.DownwardAPI != nil || volume.Projected != nil,
		// A volume has one source. All sources that can be read-only use this field name.
		ReadOnly: volume.Image != nil || bytes.Contains(toJSONOf(volume), []byte(`"readOnly":true`)),
	}
	if h := volume.HostPath; h != nil && h.Type != nil {
		view.File = slices.Contains([]corev1.HostPathType{"File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice"}, *h.Type)
	}
	if volume.Projected != nil {
		view.Projected = &inject.Projected{Sources: viewOfEach(volume.Projected.Sources, viewOfSource)}
	}
	return view
}

func toJSONOf(volume *corev1.Volume) []byte {
	document, err := json.Marshal(volume)
	if err != nil {
		panic(err) // API types can always be encoded
	}
	return document
}

func viewOfSource(source *corev1.VolumeProjection) inject.Source {
	var view inject.Source
	if t := source.ServiceAccountToken; t != nil {
		view.ServiceAccountToken = &inject.ServiceAccountToken{Audience: t.Audience, Path: t.Path}
	}
	if d := source.DownwardAPI; d != nil {
		view.DownwardAPI = &inject.DownwardAPI{Items: viewOfEach(d.Items, func(item *corev1.DownwardAPIVolumeFile) inject.DownwardAPIItem {
			view := inject.DownwardAPIItem{Path: item.Path}
			if item.FieldRef != nil {
				view.FieldRef = &inject.FieldRef{FieldPath: item.FieldRef.FieldPath}
			}
			return view
		})}
	}
	return view
}

func viewOfContainer(c *corev1.Container) inject.Container {
	return inject.Container{
		Name:       c.Name,
		Env:        viewOfEnv(c.Env),
		HasEnvFrom: len(c.EnvFrom) > 0,
		VolumeMounts: viewOfEach(c.VolumeMounts, func(m *corev1.VolumeMount) inject.VolumeMount {
			return inject.VolumeMount{Name: m.Name, MountPath: m.MountPath, SubPath: m.SubPath, SubPathExpr: m.SubPathExpr, ReadOnly: m.ReadOnly}
		}),
		VolumeDevices: viewOfEach(c.VolumeDevices, func(d *corev1.VolumeDevice) inject.VolumeDevice {
			return inject.VolumeDevice{DevicePath: d.DevicePath}
		}),
	}
}

// viewOfEnv returns the variables that a decision reads.
func viewOfEnv(variables []corev1.EnvVar) inject.Env {
	if variables == nil {
		return nil
	}
	view := inject.Env{}
	for _, v := range variables {
		if strings.HasPrefix(v.Name, "AWS_") {
			view = append(view, inject.EnvVar{Name: v.Name, Value: v.Value, FromElsewhere: v.ValueFrom != nil})
		}
	}
	return view
}
