package main

import (
	"github.com/spf13/pflag"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/doctor"
)

// kubectlFlags say which cluster is meant, and as whom. A token is left out: it is a
// secret.
var kubectlFlags = []string{
	"as", "as-group", "as-uid", "certificate-authority", "client-certificate", "client-key",
	"cluster", "context", "insecure-skip-tls-verify", "kubeconfig", "server", "tls-server-name", "user",
}

// helmFlags are helm's names of those that it has.
var helmFlags = map[string]string{"context": "kube-context", "kubeconfig": "kubeconfig", "as": "kube-as-user"}

// awsFlags say which account is meant.
var awsFlags = []string{"profile", "region"}

// fixFlags are the flags that were given here and that a command needs, too, to
// change the same cluster and account.
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

// flagArgs returns a flag as it was given, under another name.
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
