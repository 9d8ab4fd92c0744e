package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/explain"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
)

// explainTimeout is the timeout of --from-cluster.
const explainTimeout = time.Minute

// explainOptions are the flags of the command explain.
type explainOptions struct {
	*options
	settings         settings.Settings
	files            []string
	fromCluster      bool
	watchConfigMap   bool
	webhookNamespace string
}

func newExplainCommand(o *options) *cobra.Command {
	e := &explainOptions{options: o}
	command := &cobra.Command{
		Use:   "explain POD.yaml...",
		Short: "Show what the webhook would do to a pod, without creating it",
		Long: "Show what the webhook would do to a pod, without creating it and without a cluster. The command runs the webhook's own code.\n\n" +
			"The files contain pods, or workloads such as Deployments and CronJobs, as YAML or JSON; - is the standard input. They can also contain\n" +
			"the ServiceAccounts, namespaces and the ConfigMap of roles that the pods need. --from-cluster reads missing ones from the cluster.\n" +
			"-o yaml and -o json print the pods as they would be, without the fields that the API server adds itself.\n\n" +
			"The exit code is 2 if the webhook would deny a pod, and 3 if an object that the pod needs is missing. The flags from --annotation-prefix\n" +
			"on are flags of the webhook: pass those of your webhook.",
		Example: "  kubectl irsa explain pod.yaml -f serviceaccount.yaml\n" +
			"  kubectl irsa explain deployment.yaml --from-cluster -n shop -o yaml\n" +
			"  helm template chart | kubectl irsa explain -",
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd.Context(), args) },
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringArrayVarP(&e.files, "filename", "f", nil, "Another `file`. Repeatable.")
	flags.BoolVar(&e.fromCluster, "from-cluster", false, "If true, get ServiceAccounts and Namespaces that are in no file from the cluster.")
	flags.BoolVar(&e.watchConfigMap, "watch-config-map", false, "If true, --from-cluster also reads the ConfigMap "+explain.ConfigMapName+".")
	flags.StringVar(&e.webhookNamespace, "webhook-namespace", "eks", "`namespace` of that ConfigMap, which is the --namespace of the webhook.")
	e.settings.AddFlags(flags)
	return command
}

func (e *explainOptions) run(ctx context.Context, args []string) error {
	if mistakes := e.settings.Validate(); len(mistakes) > 0 {
		return errors.Join(mistakes...)
	}
	if e.settings.ComposeRoleARN && e.settings.Account() == nil {
		return errors.New("--compose-role-arn requires --aws-account-id, because this is not the host of the webhook")
	}
	manifests, err := e.read(slices.Concat(args, e.files))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	explainer, err := e.explainer(ctx, manifests)
	if err != nil {
		return err
	}
	for _, skipped := range explainer.Skipped {
		fmt.Fprintf(e.ErrOut, "%s %s\n", e.colorize(color.FgYellow)("Warning:"), skipped)
	}
	explanations := make([]explain.Explanation, 0, len(manifests.Pods))
	for _, pod := range manifests.Pods {
		explanation, err := explainer.Explain(ctx, pod)
		if err != nil {
			return err
		}
		explanations = append(explanations, explanation)
	}
	if e.output != "" {
		err = e.printPods(explanations)
	} else {
		err = e.printExplanations(explanations)
	}
	if err != nil {
		return err
	}
	return outcome(explanations)
}

// outcome returns the exit code as an error, or nil.
func outcome(explanations []explain.Explanation) error {
	has := func(of func(explain.Explanation) error) bool {
		return slices.ContainsFunc(explanations, func(x explain.Explanation) bool { return of(x) != nil })
	}
	switch {
	case has(func(x explain.Explanation) error { return x.Denied }):
		return exitCodeError(exitBroken)
	case has(func(x explain.Explanation) error { return x.MissingInput }):
		return exitCodeError(exitUnknown)
	default:
		return nil
	}
}

func (e *explainOptions) read(files []string) (*explain.Manifests, error) {
	if len(files) == 0 {
		return nil, errors.New("missing argument: pass a file with a pod or a workload, or - for the standard input")
	}
	namespace, err := e.namespace()
	if err != nil {
		return nil, err
	}
	manifests := new(explain.Manifests)
	for _, file := range files {
		if err := e.readFile(manifests, file, namespace); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	if len(manifests.Pods) == 0 {
		return nil, fmt.Errorf("no pod and no workload in %s", strings.Join(files, ", "))
	}
	return manifests, nil
}

func (e *explainOptions) readFile(manifests *explain.Manifests, name, namespace string) error {
	if name == "-" {
		return manifests.Read(e.In, namespace)
	}
	file, err := os.Open(name) //nolint:gosec // the user passes the file name
	if err != nil {
		return err
	}
	return errors.Join(manifests.Read(file, namespace), file.Close())
}

func (e *explainOptions) explainer(ctx context.Context, manifests *explain.Manifests) (*explain.Explainer, error) {
	config := explain.Config{Settings: e.settings, Manifests: manifests}
	if e.fromCluster {
		client, err := e.client()
		if err != nil {
			return nil, err
		}
		config.Cluster = client.CoreV1()
		if e.watchConfigMap {
			config.MappingNamespace = e.webhookNamespace
		}
	}
	return explain.New(ctx, config)
}

// printPods prints the injected pods: a single pod as an object, otherwise a List, like
// kubectl. Warnings and errors go to standard error.
func (e *explainOptions) printPods(explanations []explain.Explanation) error {
	pods := []any{}
	for _, x := range explanations {
		e.printWarnings(e.ErrOut, x)
		e.printError(e.ErrOut, x)
		if x.Patched == nil {
			continue
		}
		pods = append(pods, json.RawMessage(x.Patched))
	}
	if len(explanations) == 1 && len(pods) == 1 {
		return e.print(pods[0], nil)
	}
	return e.print(map[string]any{"apiVersion": "v1", "kind": "List", "items": pods}, nil)
}

func (e *explainOptions) printExplanations(explanations []explain.Explanation) error {
	for i, x := range explanations {
		if i > 0 {
			fmt.Fprintln(e.Out)
		}
		if err := e.printExplanation(x); err != nil {
			return err
		}
	}
	return nil
}

func (e *explainOptions) printExplanation(x explain.Explanation) error {
	table := printers.GetNewTabWriter(e.Out)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s:\t%s\n", name, value)
		}
	}
	fmt.Fprintln(table, x.Pod.From)
	row("ServiceAccount", x.ServiceAccount.String())
	if id := x.Identity; id != nil && id.IsSet() {
		row("Role", id.RoleARN)
		row("Assumes", id.TargetRoleARN)
		row("Method", string(id.Method))
	}
	if x.Result.Reason != "" {
		row("Outcome", formatReason(x.Result.Reason))
	}
	if x.Result.Volume != "" {
		row("Volume", volume(x))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if err := e.printContainers(x); err != nil {
		return err
	}
	e.printWarnings(e.Out, x)
	e.printError(e.Out, x)
	return nil
}

func formatReason(reason inject.Reason) string { return string(reason) + ": " + reason.Description() }

func volume(x explain.Explanation) string {
	if x.Result.ExpirationSeconds == 0 {
		return x.Result.Volume + ", already in the pod"
	}
	return fmt.Sprintf("%s, with a token for %s that is valid for %d s", x.Result.Volume, x.Identity.Audience, x.Result.ExpirationSeconds)
}

func (e *explainOptions) printContainers(x explain.Explanation) error {
	if len(x.Result.Containers) == 0 {
		return nil
	}
	fmt.Fprintln(e.Out)
	table := printers.GetNewTabWriter(e.Out)
	fmt.Fprintln(table, "CONTAINER\tREASON\tWHY\tADDED")
	for _, container := range x.Result.Containers {
		added := slices.Clone(container.Env)
		if container.Mounted {
			added = append(added, "token mount")
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", container.Name, container.Reason, container.Reason.Description(), listed(added))
	}
	return table.Flush()
}

// printWarnings prints the warnings of the webhook about the pod, and then those about the
// annotations of the ServiceAccount.
func (e *explainOptions) printWarnings(out io.Writer, x explain.Explanation) {
	warn := e.colorize(color.FgYellow)("Warning:")
	for _, warning := range x.Result.Warnings {
		fmt.Fprintf(out, "%s %s (%s)\n", warn, warning.Message, warning.Reason)
	}
	for _, finding := range x.Findings {
		fmt.Fprintf(out, "%s ServiceAccount %s: %s\n", warn, x.ServiceAccount, finding)
	}
}

// printError prints why there is no pod.
func (e *explainOptions) printError(out io.Writer, x explain.Explanation) {
	switch {
	case x.Denied != nil:
		fmt.Fprintf(out, "%s the webhook would deny %s: %v\n", e.colorize(color.FgRed)("Broken:"), x.Pod.From, x.Denied)
	case x.MissingInput != nil:
		fmt.Fprintf(out, "%s no decision about %s: %v\n", e.colorize(color.FgYellow)("Unknown:"), x.Pod.From, x.MissingInput)
	}
}
