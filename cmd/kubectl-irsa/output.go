package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/fatih/color"
	"sigs.k8s.io/yaml"
)

// print prints result as -o wants it, and by text where -o is not given.
func (o *options) print(result any, text func(io.Writer) error) error {
	switch o.output {
	case "json":
		encoded, err := json.MarshalIndent(result, "", "  ")
		if err != nil {
			return fmt.Errorf("print as JSON: %w", err)
		}
		_, err = fmt.Fprintf(o.Out, "%s\n", encoded)
		return err
	case "yaml":
		encoded, err := yaml.Marshal(result)
		if err != nil {
			return fmt.Errorf("print as YAML: %w", err)
		}
		_, err = o.Out.Write(encoded)
		return err
	default:
		return text(o.Out)
	}
}

// colorize returns a function that colors text for a terminal, if colors are wanted.
func (o *options) colorize(attributes ...color.Attribute) func(...any) string {
	painted := color.New(attributes...) // as NO_COLOR and the terminal want it
	switch o.color {
	case "always":
		painted.EnableColor()
	case "never":
		painted.DisableColor()
	}
	return painted.SprintFunc()
}
