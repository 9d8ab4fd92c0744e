package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// completionTimeout limits how long the shell waits for completions.
const completionTimeout = 3 * time.Second

// completeFlags registers the completions of the common flags.
func (o *options) completeFlags(root *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"namespace": o.completeNamespaces,
		"context":   o.completeContexts,
		"output":    cobra.FixedCompletions([]cobra.Completion{"json", "yaml"}, cobra.ShellCompDirectiveNoFileComp),
		"color":     cobra.FixedCompletions([]cobra.Completion{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp),
	} {
		cobra.CheckErr(root.RegisterFlagCompletionFunc(flag, complete))
	}
}

func (o *options) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.completeFrom(cmd, func(ctx context.Context, client kubernetes.Interface) ([]cobra.Completion, error) {
		list, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		return names(list.Items, func(n corev1.Namespace) string { return n.Name }), nil
	})
}

// completeServiceAccount completes the name of a ServiceAccount in the selected namespace.
func (o *options) completeServiceAccount(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeFrom(cmd, func(ctx context.Context, client kubernetes.Interface) ([]cobra.Completion, error) {
		namespace, err := o.namespace()
		if err != nil {
			return nil, err
		}
		list, err := client.CoreV1().ServiceAccounts(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		return names(list.Items, func(a corev1.ServiceAccount) string { return a.Name }), nil
	})
}

func (o *options) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	config, err := o.cluster.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	completions := make([]cobra.Completion, 0, len(config.Contexts))
	for name := range config.Contexts {
		completions = append(completions, name)
	}
	return completions, cobra.ShellCompDirectiveNoFileComp
}

// completeFrom returns the completions that list reads from the cluster, or none after an
// error, because a shell cannot show it. The shell selects the completions that match.
func (o *options) completeFrom(cmd *cobra.Command, list func(context.Context, kubernetes.Interface) ([]cobra.Completion, error)) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	client, err := o.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	completions, err := list(ctx, client)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return completions, cobra.ShellCompDirectiveNoFileComp
}

func names[T any](items []T, name func(T) string) []cobra.Completion {
	completions := make([]cobra.Completion, 0, len(items))
	for _, item := range items {
		completions = append(completions, name(item))
	}
	return completions
}
