package main

import (
	"fmt"
	"slices"
	"strings"
)

// program is the name of a program that has an image.
type program string

// The programs.
const (
	webhook  program = "pod-identity-webhook"
	localSTS program = "local-sts"
)

func programs() []program { return []program{webhook, localSTS} }

// description returns the description in the image's labels.
func (p program) description() string {
	switch p {
	case localSTS:
		return "A fake AWS STS and IAM for test clusters without an AWS account; its credentials are valid only there"
	default:
		return "Gives each pod of a Kubernetes cluster the AWS identity of its ServiceAccount"
	}
}

// String implements flag.Value.
func (p *program) String() string { return string(*p) }

// Set implements flag.Value. It returns an error for an unknown program.
func (p *program) Set(name string) error {
	if !slices.Contains(programs(), program(name)) {
		var names []string
		for _, one := range programs() {
			names = append(names, string(one))
		}
		return fmt.Errorf("unknown program, want one of: %s", strings.Join(names, ", "))
	}
	*p = program(name)
	return nil
}
