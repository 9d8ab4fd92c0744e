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

// doctorOptions is what the flags of doctor say.
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
		Long: "Walk the chain from a ServiceAccount to AWS credentials, and say of each link whether it is whole, why not, and which command mends it.\n\n" +
			"Without a name all ServiceAccounts that have a role are looked at, in all namespaces unless -n is given. A name alone is that of a pod or, if there is none, of a ServiceAccount.\n\n" +
			"Nothing is changed: a pod is admitted as a dry run, and a token of ten minutes is minted for a look and is not shown. " +
			"What your rights do not suffice for is unknown, never ok.\n\n" +
			"The exit code is 0 if nothing is broken, 2 if something is, and 3 if nothing is known to be but not all could be seen.",
		Example: "  kubectl irsa doctor\n" +
			"  kubectl irsa doctor serviceaccount cart -n shop\n" +
			"  kubectl irsa doctor pod/cart-5d9c7b6f4-x2x7k -n shop -o json",
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: d.complete,
		RunE:              d.run,
	}
	flags := command.Flags()
	flags.BoolVar(&d.noExchange, "no-exchange", false, "do not try STS")
	flags.BoolVar(&d.noAWS, "no-aws", false, "do not look at IAM")
	flags.BoolVar(&d.examine.SkipDryRun, "skip-dry-run", false, "do not have a pod admitted as a dry run")
	flags.StringVar(&d.examine.Audience, "audience", "", "audience of tokens whose ServiceAccount names none; by default the webhook's")
	flags.StringVar(&d.examine.AnnotationPrefix, "annotation-prefix", "", "prefix of the annotations; by default the webhook's")
	flags.StringVar(&d.examine.WebhookName, "webhook-name", "", "name of the MutatingWebhookConfiguration; by default it is found by its path and names")
	flags.StringVar(&d.issuerCAFile, "issuer-ca-file", "", "PEM file of the CA of the issuer's documents, if this machine does not know it")
	flags.BoolVar(&d.evidence, "evidence", false, "If true, print the evidence of each check.")
	flags.BoolVar(&d.problems, "problems-only", false, "If true, show only checks that are not ok and not skipped.")
	flags.DurationVar(&d.timeout, "timeout", 5*time.Minute, "Timeout of the command.")
	return command
}

// errKind says how a kind may be written.
var errKind = errors.New("want pod NAME, serviceaccount NAME, or nothing for the whole cluster")

// kinds are how the two kinds are written.
var kinds = map[string]string{
	"pod": kindPod, "pods": kindPod, "po": kindPod,
	"serviceaccount": kindAccount, "serviceaccounts": kindAccount, "sa": kindAccount,
}

const (
	kindPod     = "pod"
	kindAccount = "serviceaccount"
)

// parseTarget reads NAME, KIND NAME or KIND/NAME. The kind of a name alone is "".
func parseTarget(args []string) (kind, name string, err error) {
	if len(args) == 1 {
		slashed := strings.SplitN(args[0], "/", 2)
		if len(slashed) == 1 {
			if _, isKind := kinds[args[0]]; isKind {
				return "", "", fmt.Errorf("%s: which one? %w", args[0], errKind)
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
	physician, client, err := d.doctor(ctx)
	if err != nil {
		return err
	}
	if name == "" {
		report, err := physician.Cluster(ctx, *d.cluster.Namespace)
		if err != nil {
			return err
		}
		return d.printReport(report, report.Status, clusterText{d.findingPrinter(), report}.write)
	}
	namespace, err := d.namespace()
	if err != nil {
		return err
	}
	report, err := d.diagnoseTarget(ctx, physician, client, namespace, kind, name)
	if err != nil {
		return err
	}
	return d.printReport(report, report.Status, reportText{d.findingPrinter(), report}.write)
}

func (d *doctorOptions) diagnoseTarget(ctx context.Context, physician *doctor.Doctor, client kubernetes.Interface, namespace, kind, name string) (doctor.Report, error) {
	if kind == "" {
		var err error
		if kind, err = kindOf(ctx, client, namespace, name); err != nil {
			return doctor.Report{}, err
		}
	}
	if kind == kindPod {
		return physician.Pod(ctx, namespace, name)
	}
	return physician.ServiceAccount(ctx, namespace, name)
}

// kindOf says what a name alone is the name of, as far as can be seen.
func kindOf(ctx context.Context, client kubernetes.Interface, namespace, name string) (string, error) {
	_, noPod := client.CoreV1().Pods(namespace).Get(ctx, name, metav1.GetOptions{})
	if !apierrors.IsNotFound(noPod) && !apierrors.IsForbidden(noPod) {
		return kindPod, nil
	}
	_, noAccount := client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(noPod) && apierrors.IsNotFound(noAccount) {
		return "", fmt.Errorf("namespace %s has neither a pod nor a ServiceAccount %s: give the kind, too, to look at one that is missing", namespace, name)
	}
	return kindAccount, nil
}

// doctor puts together who reads the cluster, the issuer and AWS.
func (d *doctorOptions) doctor(ctx context.Context) (*doctor.Doctor, kubernetes.Interface, error) {
	restConfig, err := d.cluster.ToRESTConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("find the cluster: %w", err)
	}
	// Warnings are about the trial pod, and said better by the checks.
	restConfig.WarningHandler = rest.NoWarnings{}
	// Few are looked at at once, and the API server has a fairness of its own.
	restConfig.QPS = -1
	client, err := kubernetes.NewForConfig(restConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("make a client for %s: %w", restConfig.Host, err)
	}
	reader, err := issuerClient(d.issuerCAFile)
	if err != nil {
		return nil, nil, err
	}
	var config aws.Config
	if !d.noAWS || !d.noExchange {
		if config, err = d.aws(ctx); err != nil {
			return nil, nil, fmt.Errorf("%w: or leave AWS out by --no-aws --no-exchange", err)
		}
	}
	if config.Region == "" {
		config.Region = anyRegion
	}
	physician := &doctor.Doctor{
		Client: client, APIServer: restConfig.Host, Forward: doctor.NewForwarder(restConfig, client),
		HTTP: reader, Options: d.examine,
	}
	if !d.noAWS {
		physician.AWS = &doctor.AWS{IAM: iam.NewFromConfig(config), STS: sts.NewFromConfig(config)}
	}
	physician.PrivateAWS = isPrivate(config)
	if !d.noExchange {
		physician.Exchange = doctor.NewExchanger(config)
	}
	return physician, client, nil
}

// isPrivate says whether AWS is played by something else, as the SDK's
// configuration has it.
func isPrivate(config aws.Config) bool {
	return aws.ToString(config.BaseEndpoint) != "" || os.Getenv("AWS_ENDPOINT_URL_STS") != ""
}

// issuerClient reads the issuer as anybody does, but may know one CA more.
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
		return nil, fmt.Errorf("--issuer-ca-file %s: it has no certificate in PEM", caFile)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // it is one
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}

// printReport prints a report, and makes an exit code of its status.
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

// complete completes kinds and the names of what is there.
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
