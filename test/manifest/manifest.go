// Package manifest applies YAML files to a cluster the way
// `kubectl apply --server-side --validate=strict` does.
package manifest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

// fieldOwner is the field manager of the applied objects.
const fieldOwner = "pod-identity-webhook-test"

// Apply applies the objects in the files, in that order, and returns them as stored. It
// returns an error for unknown and duplicate fields.
func Apply(ctx context.Context, config *rest.Config, paths ...string) ([]*unstructured.Unstructured, error) {
	applier, err := newApplier(config)
	if err != nil {
		return nil, err
	}
	var stored []*unstructured.Unstructured
	for _, path := range paths {
		documents, err := split(path)
		if err != nil {
			return nil, err
		}
		for _, document := range documents {
			object, err := applier.apply(ctx, document)
			if err != nil {
				return nil, fmt.Errorf("apply %s: %w", path, err)
			}
			stored = append(stored, object)
		}
	}
	return stored, nil
}

// split returns the unparsed YAML documents in a file, because the API server's strict
// validation needs the original text.
func split(path string) ([][]byte, error) {
	content, err := os.ReadFile(path) //nolint:gosec // the caller says which file
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return documents, nil
		case err != nil:
			return nil, fmt.Errorf("read %s: %w", path, err)
		case len(bytes.TrimSpace(document)) > 0:
			documents = append(documents, document)
		}
	}
}

// applier applies objects of the cluster's kinds.
type applier struct {
	mapper meta.RESTMapper
	client dynamic.Interface
}

func newApplier(config *rest.Config) (*applier, error) {
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	resources, err := restmapper.GetAPIGroupResources(discoverer)
	if err != nil {
		return nil, fmt.Errorf("discover the cluster's kinds: %w", err)
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("create client: %w", err)
	}
	return &applier{mapper: restmapper.NewDiscoveryRESTMapper(resources), client: client}, nil
}

func (a *applier) apply(ctx context.Context, document []byte) (*unstructured.Unstructured, error) {
	var object metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(document, &object); err != nil {
		return nil, err
	}
	resource, err := a.resource(object.GroupVersionKind(), object.Namespace)
	if err != nil {
		return nil, err
	}
	return resource.Patch(ctx, object.Name, types.ApplyPatchType, document, metav1.PatchOptions{
		FieldManager:    fieldOwner,
		FieldValidation: metav1.FieldValidationStrict,
		Force:           new(true),
	})
}

func (a *applier) resource(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := a.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return a.client.Resource(mapping.Resource).Namespace(namespace), nil
	}
	return a.client.Resource(mapping.Resource), nil
}

// Delete deletes objects from Apply in reverse order. It ignores objects that do not exist.
func Delete(ctx context.Context, config *rest.Config, objects []*unstructured.Unstructured) error {
	applier, err := newApplier(config)
	if err != nil {
		return err
	}
	var failed []error
	for _, object := range slices.Backward(objects) {
		resource, err := applier.resource(object.GroupVersionKind(), object.GetNamespace())
		if err == nil {
			err = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			failed = append(failed, fmt.Errorf("delete %s %s: %w", object.GetKind(), object.GetName(), err))
		}
	}
	return errors.Join(failed...)
}
