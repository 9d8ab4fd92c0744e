package inject

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
)

// patch is a JSON patch (RFC 6902). It has add operations only, so that a pod keeps
// what it has.
type patch struct {
	operations []operation
	// bytes is what the texts in the patch take.
	bytes int
}

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// maxPatchBytes is where a patch is no use: the API server takes no pod of more than 3
// MiB, and etcd no more than half of that. Nothing is added from there on.
const maxPatchBytes = 3 << 20

// isTooLarge reports whether the patch has more than maxPatchBytes.
func (p *patch) isTooLarge() bool { return p.bytes > maxPatchBytes }

// encode returns the patch as JSON, or nil if it does nothing. Invalid UTF-8, which an
// annotation can hold, becomes U+FFFD, as in the API server's own JSON.
func (p *patch) encode() []byte {
	if len(p.operations) == 0 {
		return nil
	}
	document, err := json.Marshal(p.operations, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		panic(err) // the types of the API can be encoded
	}
	return document
}

// add adds a value with texts of so many bytes.
func (p *patch) add(path string, value any, bytes int) {
	if p.bytes += len(path) + bytes; !p.isTooLarge() {
		p.operations = append(p.operations, operation{"add", path, value})
	}
}

// addEntry adds an entry to the map at path, or makes the map if it is absent.
func (p *patch) addEntry(path string, absent bool, key, value string) {
	if absent {
		p.add(path, map[string]string{key: value}, len(key)+len(value))
	} else {
		p.add(path+"/"+escape(key), value, len(key)+len(value))
	}
}

// escape makes a key part of a JSON pointer (RFC 6901).
func escape(key string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(key) }

// addVolume adds a volume in the first place of the pod's.
func (p *patch) addVolume(absent bool, volume *corev1.Volume) {
	if absent {
		p.add("/spec/volumes", []*corev1.Volume{volume}, 0)
	} else {
		p.add("/spec/volumes/0", volume, 0)
	}
}

// addMount adds a mount that is read-only in the last place of a container's.
func (p *patch) addMount(container string, absent bool, volume, path string) {
	mount := corev1.VolumeMount{Name: volume, ReadOnly: true, MountPath: path}
	if absent {
		p.add(container+"/volumeMounts", []corev1.VolumeMount{mount}, len(volume)+len(path))
	} else {
		p.add(container+"/volumeMounts/-", mount, len(volume)+len(path))
	}
}

// addVariables adds variables at the end of a container's, in order. An empty list
// that is present is not absent: to add to it in place keeps it what it is.
func (p *patch) addVariables(container string, absent bool, variables []corev1.EnvVar) {
	if absent && len(variables) > 0 {
		bytes := 0
		for i := range variables {
			bytes += len(variables[i].Name) + len(variables[i].Value)
		}
		p.add(container+"/env", variables, bytes)
		return
	}
	for i := range variables {
		p.add(container+"/env/-", variables[i], len(variables[i].Name)+len(variables[i].Value))
	}
}
