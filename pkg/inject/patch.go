package inject

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
)

// patch is a JSON patch (RFC 6902). It has only add operations, so that everything in the
// pod stays. Operations are written directly as JSON: a library that encodes them takes
// several times as long. See docs/decisions/0013-hot-path.md.
type patch struct {
	json []byte
}

// usualPatchBytes is enough for most pods.
const usualPatchBytes = 1 << 10

// maxPatchBytes is the size from which a patch is not usable, so that nothing more is added
// to it. The API server rejects a pod of more than 3 MiB, and etcd one of half of that.
const maxPatchBytes = 3 << 20

// isTooLarge reports whether the patch has more than maxPatchBytes.
func (p *patch) isTooLarge() bool { return len(p.json) > maxPatchBytes }

// encode returns the patch as JSON, or nil if it has no operations.
func (p *patch) encode() []byte {
	if p.json == nil {
		return nil
	}
	return append(p.json, ']')
}

// add adds an operation with the value that appendValue appends. path is the JSON pointer
// in parts, which are not escaped.
func (p *patch) add(appendValue func([]byte) []byte, path ...string) {
	if p.isTooLarge() {
		return
	}
	before := byte(',')
	if p.json == nil {
		p.json, before = make([]byte, 0, usualPatchBytes), '['
	}
	p.json = append(append(p.json, before), `{"op":"add","path":"`...)
	for _, part := range path {
		p.json = append(p.json, part...)
	}
	p.json = append(appendValue(append(p.json, `","value":`...)), '}')
}

// appendText appends a JSON string. Invalid UTF-8, which an annotation can contain, becomes
// U+FFFD, as in the JSON of the API server.
func appendText(to []byte, text string) []byte {
	to, _ = jsontext.AppendQuote(to, text) // the error concerns bytes that become U+FFFD
	return to
}

// addEntry adds an entry to the map at path, and creates the map if it is absent.
func (p *patch) addEntry(path string, absent bool, key, value string) {
	if absent {
		p.add(func(to []byte) []byte {
			return append(appendText(append(appendText(append(to, '{'), key), ':'), value), '}')
		}, path)
	} else {
		p.add(func(to []byte) []byte { return appendText(to, value) }, path, "/", escape(key))
	}
}

// escape escapes a key for a JSON pointer (RFC 6901).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// addVolume adds a volume as the first one of the pod.
func (p *patch) addVolume(absent bool, volume *corev1.Volume) {
	// Encoding a corev1.Volume would spend most of the time on unused kinds of volumes.
	document, err := json.Marshal(&struct {
		Name      string                        `json:"name"`
		Projected *corev1.ProjectedVolumeSource `json:"projected"`
	}{volume.Name, volume.Projected}, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // the types of the API can be encoded
	}
	if absent {
		p.add(func(to []byte) []byte { return append(append(append(to, '['), document...), ']') }, "/spec/volumes")
	} else {
		p.add(func(to []byte) []byte { return append(to, document...) }, "/spec/volumes/0")
	}
}

// addMount adds a read-only mount as the last one of a container.
func (p *patch) addMount(container string, absent bool, volume, path string) {
	appendMount := func(to []byte) []byte {
		to = appendText(append(to, `{"name":`...), volume)
		return append(appendText(append(to, `,"readOnly":true,"mountPath":`...), path), '}')
	}
	if absent {
		p.add(func(to []byte) []byte { return append(appendMount(append(to, '[')), ']') }, container, "/volumeMounts")
	} else {
		p.add(appendMount, container, "/volumeMounts/-")
	}
}

// addVariables appends variables to those of a container. absent must be false for an
// empty list that is present.
func (p *patch) addVariables(container string, absent bool, variables []corev1.EnvVar) {
	if absent && len(variables) > 0 {
		p.add(func(to []byte) []byte {
			before := byte('[')
			for i := range variables {
				to = appendVariable(append(to, before), &variables[i])
				before = ','
			}
			return append(to, ']')
		}, container, "/env")
		return
	}
	for i := range variables {
		p.add(func(to []byte) []byte { return appendVariable(to, &variables[i]) }, container, "/env/-")
	}
}

// appendVariable appends a variable with a value or with a field of the pod.
func appendVariable(to []byte, v *corev1.EnvVar) []byte {
	to = appendText(append(to, `{"name":`...), v.Name)
	if v.Value != "" {
		to = appendText(append(to, `,"value":`...), v.Value)
	}
	if v.ValueFrom != nil {
		ref := v.ValueFrom.FieldRef
		to = appendText(append(to, `,"valueFrom":{"fieldRef":{"apiVersion":`...), ref.APIVersion)
		to = append(appendText(append(to, `,"fieldPath":`...), ref.FieldPath), "}}"...)
	}
	return append(to, '}')
}
