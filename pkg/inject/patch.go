package inject

import (
	"strings"

	"github.com/go-faster/jx"
	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// patch is a JSON patch (RFC 6902), written as it is decided. It has add operations
// only: what a pod has is not ours to change. The values are those of the API's
// types, of which just the fields are written that this webhook gives them.
type patch struct {
	encoder jx.Encoder
	path    []byte
	empty   bool
}

// usualPatchBytes is enough for most pods, so that there is no copying to larger
// buffers.
const usualPatchBytes = 1 << 10

func newPatch() *patch { return &patch{empty: true} }

// bytes returns the patch, or nil if it does nothing.
func (p *patch) bytes() []byte {
	if p.empty {
		return nil
	}
	p.encoder.ArrEnd()
	return p.encoder.Bytes()
}

// add adds what write writes, at the place that the parts of path make.
func (p *patch) add(write func(e *jx.Encoder), path ...string) {
	e := &p.encoder
	if p.empty {
		p.empty = false
		e.SetBytes(make([]byte, 0, usualPatchBytes))
		e.ArrStart()
	}
	p.path = p.path[:0]
	for _, part := range path {
		p.path = append(p.path, part...)
	}
	e.ObjStart()
	skim.WriteField(e, "op", "add")
	e.FieldStart("path")
	e.ByteStr(p.path)
	e.FieldStart("value")
	write(e)
	e.ObjEnd()
}

// addEntry adds an entry to the map at path, or makes the map if it is absent.
func (p *patch) addEntry(path string, absent bool, key, value string) {
	if absent {
		p.add(func(e *jx.Encoder) {
			e.ObjStart()
			skim.WriteField(e, key, value)
			e.ObjEnd()
		}, path)
		return
	}
	p.add(func(e *jx.Encoder) { skim.WriteText(e, value) }, path, "/", escape(key))
}

// escape makes a key part of a JSON pointer (RFC 6901).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// addElement adds an element to the list at path, at position ("/0" is the first
// place, "/-" the last), or makes the list if it is absent. An empty list that is
// present is not absent: to add to it in place keeps it what it is.
func (p *patch) addElement(absent bool, write func(e *jx.Encoder), position string, path ...string) {
	if absent {
		p.add(func(e *jx.Encoder) {
			e.ArrStart()
			write(e)
			e.ArrEnd()
		}, path...)
		return
	}
	p.add(write, append(path, position)...)
}

// addVariables adds variables at the end of a container's environment, in order.
func (p *patch) addVariables(container string, absent bool, variables []corev1.EnvVar) {
	switch {
	case len(variables) == 0:
	case absent:
		p.add(func(e *jx.Encoder) {
			e.ArrStart()
			for i := range variables {
				writeVariable(e, &variables[i])
			}
			e.ArrEnd()
		}, container, "/env")
	default:
		for i := range variables {
			p.add(func(e *jx.Encoder) { writeVariable(e, &variables[i]) }, container, "/env/-")
		}
	}
}

func writeVariable(e *jx.Encoder, v *corev1.EnvVar) {
	e.ObjStart()
	skim.WriteField(e, "name", v.Name)
	writeOptional(e, "value", v.Value)
	if v.ValueFrom != nil {
		e.FieldStart("valueFrom")
		e.ObjStart()
		writeFieldRef(e, v.ValueFrom.FieldRef)
		e.ObjEnd()
	}
	e.ObjEnd()
}

func writeFieldRef(e *jx.Encoder, ref *corev1.ObjectFieldSelector) {
	e.FieldStart("fieldRef")
	e.ObjStart()
	writeOptional(e, "apiVersion", ref.APIVersion)
	skim.WriteField(e, "fieldPath", ref.FieldPath)
	e.ObjEnd()
}

// writeMount writes a mount that is read-only.
func writeMount(e *jx.Encoder, volume, path string) {
	e.ObjStart()
	skim.WriteField(e, "name", volume)
	e.FieldStart("readOnly")
	e.Bool(true)
	skim.WriteField(e, "mountPath", path)
	e.ObjEnd()
}

// writeVolume writes a projected volume.
func writeVolume(e *jx.Encoder, v *corev1.Volume) {
	e.ObjStart()
	skim.WriteField(e, "name", v.Name)
	e.FieldStart("projected")
	e.ObjStart()
	e.FieldStart("sources")
	e.ArrStart()
	for i := range v.Projected.Sources {
		writeSource(e, &v.Projected.Sources[i])
	}
	e.ArrEnd()
	e.ObjEnd()
	e.ObjEnd()
}

func writeSource(e *jx.Encoder, source *corev1.VolumeProjection) {
	e.ObjStart()
	if t := source.ServiceAccountToken; t != nil {
		e.FieldStart("serviceAccountToken")
		e.ObjStart()
		skim.WriteField(e, "audience", t.Audience)
		e.FieldStart("expirationSeconds")
		e.Int64(*t.ExpirationSeconds)
		skim.WriteField(e, "path", t.Path)
		e.ObjEnd()
	}
	if d := source.DownwardAPI; d != nil {
		e.FieldStart("downwardAPI")
		e.ObjStart()
		e.FieldStart("items")
		e.ArrStart()
		for _, item := range d.Items {
			e.ObjStart()
			skim.WriteField(e, "path", item.Path)
			writeFieldRef(e, item.FieldRef)
			e.ObjEnd()
		}
		e.ArrEnd()
		e.ObjEnd()
	}
	e.ObjEnd()
}

// writeOptional writes a field unless it is empty.
func writeOptional(e *jx.Encoder, name, text string) {
	if text != "" {
		skim.WriteField(e, name, text)
	}
}
