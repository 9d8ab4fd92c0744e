package testcases

import (
	"errors"
	"fmt"
	"io/fs"

	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// readManifest decodes a YAML file as an API server does in strict mode, and returns it as
// JSON. It returns fs.ErrNotExist if the file does not exist.
func readManifest(dir fs.FS, name string, into any) ([]byte, error) {
	content, err := fs.ReadFile(dir, name)
	if err != nil {
		return nil, err
	}
	document, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	faults, err := kjson.UnmarshalStrict(document, into)
	if err := errors.Join(append(faults, err)...); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return document, nil
}
