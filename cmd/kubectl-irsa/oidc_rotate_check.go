package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer/rotation"
)

const (
	// probeAudience is the audience of a token that is requested only to see which key
	// signs it. Nothing accepts this audience.
	probeAudience = "kubectl-irsa-rotate-check"
	// probeSeconds is the shortest token lifetime that the API server accepts.
	probeSeconds = 600
)

// rotateCheckOptions are the options of oidc rotate-check.
type rotateCheckOptions struct {
	oidcSource
	caFile, network, serviceAccount string
}

// checkInput is the input of the check: the issuer and the keys that it must publish.
type checkInput struct {
	issuer string
	keys   []rotation.Key
	// tokenIssuer is the issuer of a new token; empty if there is no token.
	tokenIssuer string
	// readErrors are the errors of reads that failed for missing permissions.
	readErrors []string
}

func newRotateCheckCommand(o *options) *cobra.Command {
	c := &rotateCheckOptions{oidcSource: oidcSource{options: o}}
	command := &cobra.Command{
		Use:   "rotate-check",
		Short: "Check that all current and next signing keys are published",
		Long: "Check that all current and next signing keys are published at the public issuer.\n\n" +
			"The command reads the documents at each address of the issuer, because the edges of a content delivery network can differ. " +
			"It also checks whether caches can still hold an older key set. It does not use proxies, because a proxy would choose the address.\n\n" +
			"By default the command checks the keys of the running cluster, and requests a token to see which key signs.\n\n" +
			"The exit code is 0 if all keys are published and 2 if one is not. It is 3 if the command could not check everything, or if caches can still hold an older key set.",
		Example: "  # Check that next.pub is published before it signs\n  kubectl irsa oidc rotate-check --public-key next.pub\n\n  # Check that all keys of the cluster are published\n  kubectl irsa oidc rotate-check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), oidcTimeout)
			defer cancel()
			return c.run(ctx)
		},
	}
	c.addKeyFlags(command.Flags())
	command.Flags().StringVar(&c.caFile, "issuer-ca-file", "", "PEM `file` of the CAs that sign the issuer's certificate. Defaults to the CAs of this machine.")
	command.Flags().StringVar(&c.network, "ip-family", "any", "IP addresses to check. One of: (any, 4, 6). Use 4 on a machine without IPv6.")
	command.Flags().StringVar(&c.serviceAccount, "serviceaccount", "default", "ServiceAccount in the namespace of -n to request a token for.")
	cobra.CheckErr(command.RegisterFlagCompletionFunc("ip-family", cobra.FixedCompletions([]cobra.Completion{"any", "4", "6"}, cobra.ShellCompDirectiveNoFileComp)))
	return command
}

func (c *rotateCheckOptions) run(ctx context.Context) error {
	networks := map[string]string{"any": "ip", "4": "ip4", "6": "ip6"}
	network, ok := networks[c.network]
	if !ok {
		return fmt.Errorf("--ip-family %q: must be any, 4 or 6", c.network)
	}
	roots, err := c.roots()
	if err != nil {
		return err
	}
	known, err := c.collect(ctx)
	if err != nil {
		return err
	}
	report := rotation.Check{
		Issuer: known.issuer, Keys: known.keys, Resolver: net.DefaultResolver, Network: network, Roots: roots, Now: time.Now,
	}.Run(ctx)
	for _, reason := range known.readErrors {
		report.AddProblem(rotation.Unknown, reason)
	}
	if known.tokenIssuer != "" && known.tokenIssuer != known.issuer {
		report.AddProblem(rotation.Broken, fmt.Sprintf("the cluster signs tokens with the issuer %s, not %s; check --issuer and the API server's --service-account-issuer", known.tokenIssuer, known.issuer))
	}
	if err := c.print(report, func(out io.Writer) error { return c.describeRotation(out, report) }); err != nil {
		return err
	}
	switch report.State {
	case rotation.Broken:
		return exitCodeError(exitBroken)
	case rotation.Unknown:
		return exitCodeError(exitUnknown)
	default:
		return nil
	}
}

func (c *rotateCheckOptions) roots() (*x509.CertPool, error) {
	if c.caFile == "" {
		return nil, nil //nolint:nilnil // nil means the CAs of the machine
	}
	content, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, fmt.Errorf("--issuer-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("--issuer-ca-file %s: no certificate in the file", c.caFile)
	}
	return pool, nil
}

// collect returns the issuer and the keys to check. It returns an error if the issuer cannot
// be determined or something cannot be read. Missing permissions are not an error.
func (c *rotateCheckOptions) collect(ctx context.Context) (checkInput, error) {
	known := checkInput{issuer: c.issuer}
	files, err := c.readFiles()
	if err != nil {
		return checkInput{}, err
	}
	var keys []oidcKey
	var signing string
	if c.usesClusterKeys() || c.issuer == "" {
		client, err := c.client()
		if err != nil {
			return checkInput{}, err
		}
		published, err := clusterIssuer(ctx, client)
		switch {
		case apierrors.IsForbidden(err):
			known.readErrors = append(known.readErrors, err.Error())
		case err != nil:
			return checkInput{}, err
		}
		if known.issuer == "" {
			known.issuer = published.URL
		}
		if c.usesClusterKeys() {
			keys = keysOf(published.Keys, inCluster)
			if signing, err = c.signer(ctx, client, &known); err != nil {
				return checkInput{}, err
			}
		}
	}
	if known.issuer == "" {
		known.issuer = known.tokenIssuer
	}
	if known.issuer == "" {
		return checkInput{}, fmt.Errorf("the cluster's issuer could not be read (%s); pass --issuer, the value of the API server's --service-account-issuer", strings.Join(known.readErrors, "; "))
	}
	known.keys = rotationKeys(mergeKeys(keys, files), signing)
	return known, nil
}

// signer requests a token and returns the ID of the key that signed it. It returns "" if it
// may not request a token.
func (c *rotateCheckOptions) signer(ctx context.Context, client kubernetes.Interface, known *checkInput) (string, error) {
	namespace, err := c.namespace()
	if err != nil {
		return "", err
	}
	seconds := int64(probeSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{probeAudience}, ExpirationSeconds: &seconds}}
	response, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, c.serviceAccount, request, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		known.readErrors = append(known.readErrors, fmt.Sprintf("could not determine the signing key: request a token for ServiceAccount %s/%s: %v; choose another ServiceAccount with -n and --serviceaccount", namespace, c.serviceAccount, err))
		return "", nil
	case err != nil:
		return "", fmt.Errorf("request a token for ServiceAccount %s/%s: %w", namespace, c.serviceAccount, err)
	}
	claims, err := token.ParseUnverified(response.Status.Token)
	if err != nil {
		return "", fmt.Errorf("parse the token of ServiceAccount %s/%s: %w", namespace, c.serviceAccount, err)
	}
	known.tokenIssuer = claims.Issuer
	return claims.KeyID, nil
}

// rotationKeys returns the keys to check. It adds the signing key if the cluster does not
// publish it, which is an error that the check must report.
func rotationKeys(keys []oidcKey, signing string) []rotation.Key {
	var all []rotation.Key
	for _, key := range keys {
		all = append(all, rotation.Key{ID: key.ID, Public: key.jwk.Key, From: key.From, Signs: key.ID == signing})
	}
	if signing != "" && !slices.ContainsFunc(all, func(k rotation.Key) bool { return k.Signs }) {
		all = append(all, rotation.Key{ID: signing, From: "a token", Signs: true})
	}
	return all
}

func (c *rotateCheckOptions) describeRotation(out io.Writer, report rotation.Report) error {
	fmt.Fprintf(out, "Issuer: %s\n\n", report.Issuer)
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "KEY\tFROM\tSIGNS NOW\tPUBLISHED AT\tSTATE")
	for _, key := range report.Keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d of %d\t%s\n", key.ID, key.From, yesNo(key.Signs), key.Published, key.Of, key.State)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	table = printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "HOST\tADDRESS\tDOCUMENT\tCACHE\tSTATE")
	for _, edge := range report.Endpoints {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", edge.Host, edge.Address, edge.Document, describeCache(edge.Cache), edge.State)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	c.printSummary(out, report)
	return nil
}

func (c *rotateCheckOptions) printSummary(out io.Writer, report rotation.Report) {
	labels := map[rotation.State]string{
		rotation.Unknown: c.colorize(color.FgYellow)("Unknown:"), rotation.Broken: c.colorize(color.FgRed)("Broken:"),
	}
	for _, problem := range report.Problems {
		fmt.Fprintf(out, "%s %s\n", labels[problem.State], problem.Text)
	}
	if report.State == rotation.OK {
		fmt.Fprintf(out, "%s all keys are published at all addresses\n", c.colorize(color.FgGreen)("OK:"))
	}
	for _, note := range report.Notes {
		fmt.Fprintf(out, "Note: %s\n", note)
	}
}

func describeCache(cache *rotation.Cache) string {
	switch {
	case cache == nil || cache.MaxAge == nil:
		return "unknown"
	case cache.Age == nil:
		return fmt.Sprintf("up to %ds", *cache.MaxAge)
	default:
		return fmt.Sprintf("%ds of %ds", *cache.Age, *cache.MaxAge)
	}
}

func yesNo(value bool) string {
	if value {
		return "yes"
	}
	return "no"
}
