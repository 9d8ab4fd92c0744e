package main

import (
	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/doctor"
)

// kubectlFlags are the flags that select the cluster and the user. The flag token is
// omitted, because a token is secret.
var kubectlFlags = []string{
	"as", "as-group", "as-uid", "certificate-authority", "client-certificate", "client-key",
	"cluster", "context", "insecure-skip-tls-verify", "kubeconfig", "server", "tls-server-name", "user",
}

// helmFlags maps flags of kubectl to the corresponding flags of helm.
var helmFlags = map[string]string{"context": "kube-context", "kubeconfig": "kubeconfig", "as": "kube-as-user"}

// awsFlags are the flags that select the AWS account.
var awsFlags = []string{"profile", "region"}

// fixFlags returns the flags of this command that fixes also need to reach the same cluster
// and account.
func (d *doctorOptions) fixFlags(flags *pflag.FlagSet) doctor.Commands {
	var c doctor.Commands
	for _, name := range kubectlFlags {
		words := flagArgs(flags, name, name)
		c.Kubectl = append(c.Kubectl, words...)
		c.Plugin = append(c.Plugin, words...)
		if other, ok := helmFlags[name]; ok {
			c.Helm = append(c.Helm, flagArgs(flags, name, other)...)
		}
	}
	for _, name := range awsFlags {
		words := flagArgs(flags, name, name)
		c.Plugin = append(c.Plugin, words...)
		c.AWS = append(c.AWS, words...)
	}
	return c
}

// flagArgs returns a flag with its value as arguments under another name. It returns nil if
// the flag was not set.
func flagArgs(flags *pflag.FlagSet, name, as string) []string {
	flag := flags.Lookup(name)
	if flag == nil || !flag.Changed {
		return nil
	}
	if several, ok := flag.Value.(pflag.SliceValue); ok {
		var words []string
		for _, value := range several.GetSlice() {
			words = append(words, "--"+as+"="+value)
		}
		return words
	}
	return []string{"--" + as + "=" + flag.Value.String()}
}
