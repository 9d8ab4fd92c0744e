package main

import (
	"fmt"
	"slices"
	"strings"
)

// program is a command of the product that has an image, by its name.
type program string

// The programs.
const (
	webhook  program = "pod-identity-webhook"
	localSTS program = "local-sts"
)

func programs() []program { return []program{webhook, localSTS} }

// description is what its image says of it.
func (p program) description() string {
	switch p {
	case localSTS:
		return "A test double of AWS's STS and IAM for clusters without an AWS account: its credentials open nothing but itself"
	default:
		return "Gives each pod of a Kubernetes cluster the AWS identity of its ServiceAccount"
	}
}

// String and Set make it the value of a flag.
func (p *program) String() string { return string(*p) }

// Set takes the name of a program.
func (p *program) Set(name string) error {
	if !slices.Contains(programs(), program(name)) {
		var names []string
		for _, one := range programs() {
			names = append(names, string(one))
		}
		return fmt.Errorf("no such program, there are: %s", strings.Join(names, ", "))
	}
	*p = program(name)
	return nil
}
