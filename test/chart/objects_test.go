package chart_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

// foreign are the API groups of operators, whose types are not in k8s.io/api. The module
// test/integrations checks these objects.
var foreign = []string{"cert-manager.io", "monitoring.coreos.com"}

// decode decodes the objects in YAML that have types in k8s.io/api. Unknown and duplicate
// fields are errors.
func decode(t *testing.T, manifests []byte) []runtime.Object {
	t.Helper()
	serializer := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, scheme.Scheme, scheme.Scheme, kjson.SerializerOptions{Yaml: true, Strict: true})
	var objects []runtime.Object
	for _, document := range documents(t, manifests) {
		kind := kindOf(t, document)
		if slices.Contains(foreign, kind.Group) {
			continue
		}
		object, _, err := serializer.Decode(document, nil, nil)
		if err != nil {
			t.Errorf("%s: %v", kind, err)
			continue
		}
		objects = append(objects, object)
	}
	return objects
}

func documents(t *testing.T, manifests []byte) [][]byte {
	t.Helper()
	var documents [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		document, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return documents
		case err != nil:
			t.Fatal(err)
		}
		var content any
		if err := yaml.Unmarshal(document, &content); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		if content != nil { // a document may consist of comments
			documents = append(documents, document)
		}
	}
}

func kindOf(t *testing.T, document []byte) schema.GroupVersionKind {
	t.Helper()
	var object metav1.TypeMeta
	if err := yaml.Unmarshal(document, &object); err != nil {
		t.Fatalf("%v\n%s", err, document)
	}
	return object.GroupVersionKind()
}

// one returns the only object of a type, and fails the test if there is not exactly one.
func one[T any](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	found := all[T](objects)
	if len(found) != 1 {
		t.Fatalf("got %d objects of type %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func all[T any](objects []runtime.Object) []T {
	var found []T
	for _, object := range objects {
		if object, is := object.(T); is {
			found = append(found, object)
		}
	}
	return found
}
