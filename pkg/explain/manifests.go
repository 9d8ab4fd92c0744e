package explain

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Manifests are the contents of files: the pods that they create, and the objects that the
// webhook's decision about these pods needs. The zero value is empty.
type Manifests struct {
	Pods []Pod

	// accounts and namespaces contain annotations.
	accounts   map[types.NamespacedName]map[string]string
	namespaces map[string]map[string]string
	// mapping is the data of the ConfigMap of roles, or nil if there is none.
	mapping map[string]string
}

// Pod is a pod that would be created.
type Pod struct {
	// From is the object that creates the pod, such as "Deployment shop/cart".
	From string
	// Namespace is the namespace of the pod.
	Namespace string
	// Document is the pod as JSON.
	Document []byte
}

// ConfigMapName is the name of the ConfigMap of roles, and mappingKey is its key. Both are
// part of the webhook's API.
const (
	ConfigMapName = "pod-identity-webhook"
	mappingKey    = "config"
)

// document is a Kubernetes object of any kind.
type document map[string]any

// Read adds the manifests of a YAML or JSON stream. Objects without a namespace get the given
// one. Objects that are irrelevant for the identity of pods are ignored. It returns an error
// if a document is invalid. The error contains the position, but never a value.
func (m *Manifests) Read(from io.Reader, namespace string) error {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(from))
	for n := 1; ; n++ {
		content, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := m.readDocument(content, namespace); err != nil {
			return fmt.Errorf("document %d: %w", n, err)
		}
	}
}

func (m *Manifests) readDocument(content []byte, namespace string) error {
	asJSON, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return fmt.Errorf("invalid YAML%s", lineOf(err))
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber() // float64 is not exact for large integers
	var read document
	if err := decoder.Decode(&read); err != nil {
		return errors.New("not a Kubernetes object")
	}
	return m.add(read, namespace)
}

var line = regexp.MustCompile(`line \d+`)

// lineOf returns only the line number of a YAML error, because the rest may quote values.
func lineOf(err error) string {
	if found := line.FindString(err.Error()); found != "" {
		return " or duplicate key at " + found
	}
	return ""
}

func (m *Manifests) add(d document, namespace string) error {
	if items, ok := d["items"].([]any); ok {
		for i, item := range items {
			object, ok := item.(map[string]any)
			if !ok {
				return fmt.Errorf("item %d of the list is not a Kubernetes object", i+1)
			}
			if err := m.add(object, namespace); err != nil {
				return fmt.Errorf("item %d of the list: %w", i+1, err)
			}
		}
		return nil
	}
	metadata := d.object("metadata")
	if own := metadata.text("namespace"); own != "" {
		namespace = own
	}
	name := metadata.text("name")
	switch d.text("kind") {
	case "ServiceAccount":
		set(&m.accounts, types.NamespacedName{Namespace: namespace, Name: name}, metadata.texts("annotations"))
	case "Namespace":
		set(&m.namespaces, name, metadata.texts("annotations"))
	case "ConfigMap":
		if name == ConfigMapName {
			m.mapping = d.texts("data")
		}
	default:
		return m.addPod(d, namespace)
	}
	return nil
}

func set[K comparable](values *map[K]map[string]string, key K, value map[string]string) {
	if *values == nil {
		*values = map[K]map[string]string{}
	}
	(*values)[key] = value
}

// object returns a member that is an object, or nil.
func (d document) object(name string) document {
	member, _ := d[name].(map[string]any)
	return member
}

// text returns a member that is a string, or "".
func (d document) text(name string) string {
	member, _ := d[name].(string)
	return member
}

// texts returns the string members of a member that is an object.
func (d document) texts(name string) map[string]string {
	read := map[string]string{}
	for key, value := range d.object(name) {
		if s, ok := value.(string); ok {
			read[key] = s
		}
	}
	return read
}
