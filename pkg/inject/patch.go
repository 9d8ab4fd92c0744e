package inject

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// patch is a JSON patch (RFC 6902), written as it is decided; it is nil as long as it
// does nothing. It has add operations only: what a pod has is not ours to change. The
// values are those of the API's types, of which just the fields are written that this
// webhook gives them.
type patch []byte

// usualPatchBytes is enough for most pods, which spares them larger and larger buffers.
const usualPatchBytes = 1 << 10

// maxPatchBytes is where a patch is no use: the API server takes no pod of more than 3
// MiB, and etcd no more than half of that. Nothing is added from there on.
const maxPatchBytes = 3 << 20

// json returns the patch, or nil if it does nothing.
func (p patch) json() []byte {
	if p == nil {
		return nil
	}
	return append(p, ']')
}

// add begins an operation that adds a value, at the place that the parts of path make:
// numbers and names of ours, which need no escapes. The caller appends the value, and
// end.
func (p patch) add(path ...string) patch {
	if len(p) > maxPatchBytes {
		p = p[:maxPatchBytes+1]
	}
	if p == nil {
		p = append(make(patch, 0, usualPatchBytes), '[')
	} else {
		p = append(p, ',')
	}
	p = append(p, `{"op":"add","path":"`...)
	for _, part := range path {
		p = append(p, part...)
	}
	return append(p, `","value":`...)
}

const end = '}'

// addEntry adds an entry to the map at path, or makes the map if it is absent.
func (p patch) addEntry(path string, absent bool, key, value string) patch {
	if absent {
		p = append(p.add(path), '{')
		p = append(skim.AppendText(p, "", key), ':')
		return append(skim.AppendText(p, "", value), '}', end)
	}
	return append(skim.AppendText(p.add(path, "/", escape(key)), "", value), end)
}

// escape makes a key part of a JSON pointer (RFC 6901).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// addVolume adds a projected volume in the first place of the pod's.
func (p patch) addVolume(absent bool, v *corev1.Volume) patch {
	if absent {
		return append(appendVolume(append(p.add("/spec/volumes"), '['), v), ']', end)
	}
	return append(appendVolume(p.add("/spec/volumes/0"), v), end)
}

// addMount adds a mount that is read-only in the last place of a container's.
func (p patch) addMount(container string, absent bool, volume, path string) patch {
	if absent {
		return append(appendMount(append(p.add(container, "/volumeMounts"), '['), volume, path), ']', end)
	}
	return append(appendMount(p.add(container, "/volumeMounts/-"), volume, path), end)
}

// addVariables adds variables at the end of a container's, in order. An empty list
// that is present is not absent: to add to it in place keeps it what it is.
func (p patch) addVariables(container string, absent bool, variables []corev1.EnvVar) patch {
	if !absent {
		for i := range variables {
			p = append(appendVariable(p.add(container, "/env/-"), &variables[i]), end)
		}
		return p
	}
	for i := range variables {
		if i == 0 {
			p = append(p.add(container, "/env"), '[')
		} else {
			p = append(p, ',')
		}
		p = appendVariable(p, &variables[i])
	}
	if len(variables) > 0 {
		p = append(p, ']', end)
	}
	return p
}

func appendVariable(to []byte, v *corev1.EnvVar) []byte {
	to = skim.AppendText(to, `{"name":`, v.Name)
	if v.Value != "" {
		to = skim.AppendText(to, `,"value":`, v.Value)
	}
	if v.ValueFrom != nil {
		to = append(appendFieldRef(append(to, `,"valueFrom":{`...), v.ValueFrom.FieldRef), '}')
	}
	return append(to, '}')
}

func appendFieldRef(to []byte, ref *corev1.ObjectFieldSelector) []byte {
	to = append(to, `"fieldRef":{`...)
	if ref.APIVersion != "" {
		to = append(skim.AppendText(to, `"apiVersion":`, ref.APIVersion), ',')
	}
	return append(skim.AppendText(to, `"fieldPath":`, ref.FieldPath), '}')
}

func appendMount(to []byte, volume, path string) []byte {
	to = skim.AppendText(to, `{"name":`, volume)
	return append(skim.AppendText(to, `,"readOnly":true,"mountPath":`, path), '}')
}

func appendVolume(to []byte, v *corev1.Volume) []byte {
	to = append(skim.AppendText(to, `{"name":`, v.Name), `,"projected":{"sources":[`...)
	for i := range v.Projected.Sources {
		if i > 0 {
			to = append(to, ',')
		}
		to = appendSource(to, &v.Projected.Sources[i])
	}
	return append(to, "]}}"...)
}

// appendSource appends one of the two sources that there are in our volumes.
func appendSource(to []byte, source *corev1.VolumeProjection) []byte {
	if t := source.ServiceAccountToken; t != nil {
		to = skim.AppendText(to, `{"serviceAccountToken":{"audience":`, t.Audience)
		to = strconv.AppendInt(append(to, `,"expirationSeconds":`...), *t.ExpirationSeconds, 10)
		return append(skim.AppendText(to, `,"path":`, t.Path), "}}"...)
	}
	to = append(to, `{"downwardAPI":{"items":[`...)
	for i, item := range source.DownwardAPI.Items {
		if i > 0 {
			to = append(to, ',')
		}
		to = append(skim.AppendText(to, `{"path":`, item.Path), ',')
		to = append(appendFieldRef(to, item.FieldRef), '}')
	}
	return append(to, "]}}"...)
}
