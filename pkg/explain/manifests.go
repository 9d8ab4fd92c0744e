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

// Manifests are what was read of files: the pods that would be created of them,
// and what decides about these. The zero value is of no files.
type Manifests struct {
	Pods []Pod

	// The annotations of ServiceAccounts and namespaces.
	accounts   map[types.NamespacedName]map[string]string
	namespaces map[string]map[string]string
	// mapping is the data of the ConfigMap of roles, nil for none.
	mapping map[string]string
}

// Pod is a pod that would be created.
type Pod struct {
	// From names what it is made of, such as "Deployment shop/cart".
	From string
	// Namespace is where it would be created.
	Namespace string
	// Document is the pod as JSON.
	Document []byte
}

// ConfigMapName is that of the ConfigMap of roles, and mappingKey its key; both
// are a contract.
const (
	ConfigMapName = "pod-identity-webhook"
	mappingKey    = "config"
)

// document is an object of Kubernetes, whatever its kind.
type document map[string]any

// Read reads manifests in YAML or JSON, of which there may be several. Objects
// without a namespace are in the one given. What is neither about a pod nor about
// its identity is passed over. An error names where the fault is, and quotes no
// value.
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
		return fmt.Errorf("it is no YAML%s", lineOf(err))
	}
	decoder := json.NewDecoder(bytes.NewReader(asJSON))
	decoder.UseNumber() // a float64 would change large ones
	var read document
	if err := decoder.Decode(&read); err != nil {
		return errors.New("it is no object of Kubernetes")
	}
	return m.add(read, namespace)
}

var line = regexp.MustCompile(`line \d+`)

// lineOf keeps of an error the line: the rest may quote what is there.
func lineOf(err error) string {
	if found := line.FindString(err.Error()); found != "" {
		return ", or has a key twice, at " + found
	}
	return ""
}

func (m *Manifests) add(d document, namespace string) error {
	if items, ok := d["items"].([]any); ok {
		for i, item := range items {
			object, ok := item.(map[string]any)
			if !ok {
				return fmt.Errorf("item %d of the list is no object of Kubernetes", i+1)
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

// texts returns a member that is an object of strings.
func (d document) texts(name string) map[string]string {
	read := map[string]string{}
	for key, value := range d.object(name) {
		if s, ok := value.(string); ok {
			read[key] = s
		}
	}
	return read
}
