package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/doctor"
)

// doctorOptions are the flags of the command doctor.
type doctorOptions struct {
	*options
	examine           doctor.Options
	noAWS, noExchange bool
	issuerCAFile      string
	evidence          bool
	problems          bool
	timeout           time.Duration
}

func newDoctorCommand(o *options) *cobra.Command {
	d := &doctorOptions{options: o}
	command := &cobra.Command{
		Use:   "doctor [pod|serviceaccount] [NAME]",
		Short: "Diagnose why a pod cannot get AWS credentials, and suggest fixes",
		Long: "Check each step from a ServiceAccount to AWS credentials. For each step, print the status, the cause of a failure, and a command that fixes it.\n\n" +
			"Without a name, doctor checks all ServiceAccounts that have a role, in all namespaces unless you pass -n. A name without a kind is the name of a pod or, if there is no such pod, of a ServiceAccount.\n\n" +
			"Doctor changes nothing. It creates a pod as a dry run, and requests a token that is valid for ten minutes. It never prints the token. " +
			"A check that your permissions do not allow is unknown, never ok.\n\n" +
			"The exit code is 2 if a check is broken, 3 if none is broken and one is unknown, and 0 otherwise.",
		Example: "  kubectl irsa doctor\n" +
			"  kubectl irsa doctor serviceaccount cart -n shop\n" +
			"  kubectl irsa doctor pod/cart-5d9c7b6f4-x2x7k -n shop -o json",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: d.complete,
		RunE:              d.run,
	}
	flags := command.Flags()
	flags.BoolVar(&d.noExchange, "no-exchange", false, "If true, do not exchange a token at STS.")
	flags.BoolVar(&d.noAWS, "no-aws", false, "If true, do not read IAM. With --no-exchange, do not load the AWS configuration either.")
	flags.BoolVar(&d.examine.SkipDryRun, "skip-dry-run", false, "If true, do not create a pod as a dry run.")
	flags.StringVar(&d.examine.Audience, "audience", "", "Audience of the tokens of ServiceAccounts without an audience annotation. Default: the webhook's flag.")
	flags.StringVar(&d.examine.AnnotationPrefix, "annotation-prefix", "", "Prefix of the annotations. Default: the webhook's flag.")
	flags.StringVar(&d.examine.WebhookName, "webhook-name", "", "Name of the MutatingWebhookConfiguration. Default: the one with the usual path and names.")
	flags.StringVar(&d.issuerCAFile, "issuer-ca-file", "", "PEM `file` with the CA of the issuer's documents, if this machine does not trust it.")
	flags.BoolVar(&d.evidence, "evidence", false, "If true, print the evidence of each check.")
	flags.BoolVar(&d.problems, "problems-only", false, "If true, show only checks that are not ok and not skipped.")
	flags.DurationVar(&d.timeout, "timeout", 5*time.Minute, "Timeout of the command.")
	return command
}

// errKind is the error for an invalid target.
var errKind = errors.New("want pod NAME, serviceaccount NAME, or no argument for the entire cluster")

// kinds maps the names of the kinds that doctor accepts to kindPod and kindAccount.
var kinds = map[string]string{
	"pod": kindPod, "pods": kindPod, "po": kindPod,
	"serviceaccount": kindAccount, "serviceaccounts": kindAccount, "sa": kindAccount,
}

const (
	kindPod     = "pod"
	kindAccount = "serviceaccount"
)

// parseTarget parses NAME, KIND NAME or KIND/NAME. The kind is "" for a name without a kind.
// It returns an error for an unknown kind, or for a kind without a name.
func parseTarget(args []string) (kind, name string, err error) {
	if len(args) == 1 {
		slashed := strings.SplitN(args[0], "/", 2)
		if len(slashed) == 1 {
			if _, isKind := kinds[args[0]]; isKind {
				return "", "", fmt.Errorf("%s: name missing: %w", args[0], errKind)
			}
			return "", args[0], nil
		}
		args = slashed
	}
	kind, ok := kinds[strings.ToLower(args[0])]
	if !ok || args[1] == "" || strings.Contains(args[1], "/") {
		return "", "", fmt.Errorf("%s: %w", strings.Join(args, " "), errKind)
	}
	return kind, args[1], nil
}

func (d *doctorOptions) run(cmd *cobra.Command, args []string) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), d.timeout)
	defer cancel()
	kind, name := "", ""
	if len(args) > 0 {
		var err error
		if kind, name, err = parseTarget(args); err != nil {
			return err
		}
	}
	d.examine.Commands = d.fixFlags(cmd.Flags())
	diagnostics, client, err := d.doctor(ctx)
	if err != nil {
		return err
	}
	if name == "" {
		report, err := diagnostics.Cluster(ctx, *d.cluster.Namespace)
		if err != nil {
			return err
		}
		return d.printReport(report, report.Status, clusterText{d.findingPrinter(), report}.write)
	}
	namespace, err := d.namespace()
	if err != nil {
		return err
	}
	report, err := d.diagnoseTarget(ctx, diagnostics, client, namespace, kind, name)
	if err != nil {
		return err
	}
	return d.printReport(report, report.Status, reportText{d.findingPrinter(), report}.write)
}

func (d *doctorOptions) diagnoseTarget(ctx context.Context, diagnostics *doctor.Doctor, client kubernetes.Interface, namespace, kind, name string) (doctor.Report, error) {
	if kind == "" {
		var err error
		if kind, err = kindOf(ctx, client, namespace, name); err != nil {
			return doctor.Report{}, err
		}
	}
	if kind == kindPod {
		return diagnostics.Pod(ctx, namespace, name)
	}
	return diagnostics.ServiceAccount(ctx, namespace, name)
}

// kindOf returns the kind of a name without a kind. It is kindAccount if there is no such pod,
// or if reading pods is forbidden. It returns an error if neither object exists.
func kindOf(ctx context.Context, client kubernetes.Interface, namespace, name string) (string, error) {
	_, noPod := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(noPod) && !apierrors.IsForbidden(noPod) {
		return kindPod, nil
	}
	_, noAccount := client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(noPod) && apierrors.IsNotFound(noAccount) {
		return "", fmt.Errorf("namespace %s has neither a pod nor a ServiceAccount %s; to diagnose a missing one, pass its kind", namespace, name)
	}
	return kindAccount, nil
}

// doctor creates the clients for the cluster, the issuer and AWS. It returns an error if
// their configuration is invalid.
func (d *doctorOptions) doctor(ctx context.Context) (*doctor.Doctor, kubernetes.Interface, error) {
	restConfig, err := d.cluster.ToRESTConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("load the kubeconfig: %w", err)
	}
	// Warnings are about the pod of the dry run. The checks report the same in more detail.
	restConfig.WarningHandler = rest.NoWarnings{}
	// Disable client-side throttling: few requests run concurrently, and the API server has
	// API Priority and Fairness.
	restConfig.QPS = -1
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("create a client for %s: %w", restConfig.Host, err)
	}
	reader, err := issuerClient(d.issuerCAFile)
	if err != nil {
		return nil, nil, err
	}
	var config aws.Config
	if !d.noAWS || !d.noExchange {
		if config, err = d.aws(ctx); err != nil {
			return nil, nil, fmt.Errorf("%w; to skip AWS, pass --no-aws --no-exchange", err)
		}
	}
	if config.Region == "" {
		config.Region = anyRegion
	}
	diagnostics := &doctor.Doctor{
		Client: client, APIServer: restConfig.Host, Forward: doctor.NewForwarder(restConfig, client),
		HTTP: reader, Options: d.examine,
	}
	if !d.noAWS {
		diagnostics.AWS = &doctor.AWS{IAM: iam.NewFromConfig(config), STS: sts.NewFromConfig(config)}
	}
	diagnostics.PrivateAWS = isPrivate(config)
	if !d.noExchange {
		diagnostics.Exchange = doctor.NewExchanger(config)
	}
	return diagnostics, client, nil
}

// isPrivate reports whether the SDK's configuration has a custom endpoint, such as that of
// a fake AWS.
func isPrivate(config aws.Config) bool {
	return aws.ToString(config.BaseEndpoint) != "" || os.Getenv("AWS_ENDPOINT_URL_STS") != ""
}

// issuerClient returns an HTTP client that trusts the system's CAs and those in caFile, if
// it is not empty. It returns an error if the file cannot be read or has no certificate.
func issuerClient(caFile string) (*http.Client, error) {
	if caFile == "" {
		return http.DefaultClient, nil
	}
	content, err := os.ReadFile(caFile) //nolint:gosec // the user's own file
	if err != nil {
		return nil, fmt.Errorf("--issuer-ca-file: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("--issuer-ca-file %s: no PEM certificate found", caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // DefaultTransport is a *http.Transport
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}

// printReport prints a report. It returns the exit code for its status as an error.
func (d *doctorOptions) printReport(report any, status doctor.Status, text textPrinter) error {
	if err := d.print(report, text); err != nil {
		return err
	}
	switch status {
	case doctor.Broken:
		return exitCodeError(exitBroken)
	case doctor.Unknown:
		return exitCodeError(exitUnknown)
	default:
		return nil
	}
}

// complete completes the kinds and the names of existing pods and ServiceAccounts.
func (d *doctorOptions) complete(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) == 0 {
		return []cobra.Completion{kindPod, kindAccount}, cobra.ShellCompDirectiveNoFileComp
	}
	if len(args) > 1 || kinds[args[0]] != kindPod {
		return d.completeServiceAccount(cmd, args[1:], "")
	}
	return d.completeFrom(cmd, func(ctx context.Context, client kubernetes.Interface) ([]cobra.Completion, error) {
		namespace, err := d.namespace()
		if err != nil {
			return nil, err
		}
		list, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, err
		}
		return names(list.Items, func(p corev1.Pod) string { return p.Name }), nil
	})
}
