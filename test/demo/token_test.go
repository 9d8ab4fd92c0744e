package main

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestMountedToken(t *testing.T) {
	pod := func() *corev1.PodSpec {
		projection := &corev1.ServiceAccountTokenProjection{Audience: "sts.amazonaws.com", Path: "token"}
		return &corev1.PodSpec{
			Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
				Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: projection}}},
			}}},
			Containers: []corev1.Container{{
				Env:          []corev1.EnvVar{{Name: tokenVariable, Value: "/secrets/token"}},
				VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/secrets"}},
			}},
		}
	}
	for name, test := range map[string]struct {
		change func(*corev1.PodSpec)
		found  bool
	}{
		"all agree":                  {func(*corev1.PodSpec) {}, true},
		"no variable":                {func(p *corev1.PodSpec) { p.Containers[0].Env = nil }, false},
		"no mount":                   {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts = nil }, false},
		"mounted elsewhere":          {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[0].MountPath = "/secret" }, false},
		"another volume":             {func(p *corev1.PodSpec) { p.Containers[0].VolumeMounts[0].Name = "w" }, false},
		"another file in the volume": {func(p *corev1.PodSpec) { p.Volumes[0].Projected.Sources[0].ServiceAccountToken.Path = "jwt" }, false},
		"no projected volume":        {func(p *corev1.PodSpec) { p.Volumes[0].Projected = nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			spec := pod()
			test.change(spec)
			token, err := mountedToken(spec, &spec.Containers[0])
			if found := token != nil && err == nil; found != test.found {
				t.Errorf("got token %v and error %v, want a token: %t", token, err, test.found)
			}
		})
	}
}
