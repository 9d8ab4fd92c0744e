package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/fatih/color"
	"sigs.k8s.io/yaml"
)

// print prints result as JSON or YAML if -o asks for it. Otherwise it calls text.
func (o *options) print(result any, text func(io.Writer) error) error {
	switch o.output {
	case "json":
		encoded, err := json.MarshalIndent(result, "", "  ")
		if err != nil {
			return fmt.Errorf("encode as JSON: %w", err)
		}
		_, err = fmt.Fprintf(o.Out, "%s\n", encoded)
		return err
	case "yaml":
		encoded, err := yaml.Marshal(result)
		if err != nil {
			return fmt.Errorf("encode as YAML: %w", err)
		}
		_, err = o.Out.Write(encoded)
		return err
	default:
		return text(o.Out)
	}
}

// colorize returns a function that colors text, if --color enables it.
func (o *options) colorize(attributes ...color.Attribute) func(...any) string {
	colored := color.New(attributes...) // enabled by default on a terminal without NO_COLOR
	switch o.color {
	case "always":
		colored.EnableColor()
	case "never":
		colored.DisableColor()
	}
	return colored.SprintFunc()
}
