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
	// probeAudience is of a token that is asked for only to see who signs it: nobody
	// accepts it.
	probeAudience = "kubectl-irsa-rotate-check"
	// probeSeconds is the shortest life that the API server gives a token.
	probeSeconds = 600
)

// rotateCheckOptions looks for keys at the public issuer.
type rotateCheckOptions struct {
	oidcSource
	caFile, network, serviceAccount string
}

// checkInput is what is known of the keys before the issuer is asked.
type checkInput struct {
	issuer string
	keys   []rotation.Key
	// tokenIssuer is that of a token of now; empty without one.
	tokenIssuer string
	// readErrors are why not all is known.
	readErrors []string
}

func newRotateCheckCommand(o *options) *cobra.Command {
	c := &rotateCheckOptions{oidcSource: oidcSource{options: o}}
	command := &cobra.Command{
		Use:   "rotate-check",
		Short: "Check that all current and next signing keys are published",
		Long: "Say whether the keys that sign, or are to, are published at the public issuer: at each of its addresses, since the edges of a content delivery network differ, and in view of what caches may hold.\n\n" +
			"By default the keys are those of the running cluster, and a token is asked for to see which of them signs now. " +
			"Proxies are passed by, since they would choose the address.\n\n" +
			"The exit code is 0 if all keys are published, 2 if one is not, and 3 if that cannot be seen, or if caches may still hold an older key set.",
		Example: "  # may next.pub sign?\n  kubectl irsa oidc rotate-check --public-key next.pub\n\n  # is all that can sign now published?\n  kubectl irsa oidc rotate-check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), oidcTimeout)
			defer cancel()
			return c.run(ctx)
		},
	}
	c.addKeyFlags(command.Flags())
	command.Flags().StringVar(&c.caFile, "issuer-ca-file", "", "PEM `file` of the CAs that the issuer's certificate may be of; by default those of this machine")
	command.Flags().StringVar(&c.network, "ip-family", "any", "addresses to ask: any, 4 or 6; on a machine without IPv6, 4")
	command.Flags().StringVar(&c.serviceAccount, "serviceaccount", "default", "ServiceAccount of -n that a token is asked for")
	cobra.CheckErr(command.RegisterFlagCompletionFunc("ip-family", cobra.FixedCompletions([]cobra.Completion{"any", "4", "6"}, cobra.ShellCompDirectiveNoFileComp)))
	return command
}

func (c *rotateCheckOptions) run(ctx context.Context) error {
	networks := map[string]string{"any": "ip", "4": "ip4", "6": "ip6"}
	network, ok := networks[c.network]
	if !ok {
		return fmt.Errorf("--ip-family %q: any, 4 or 6", c.network)
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
		report.AddProblem(rotation.Broken, fmt.Sprintf("the cluster signs tokens of the issuer %s, not of %s", known.tokenIssuer, known.issuer))
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
		return nil, nil //nolint:nilnil // nil is the machine's
	}
	content, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, fmt.Errorf("--issuer-ca-file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("--issuer-ca-file %s: there is no certificate in it", c.caFile)
	}
	return pool, nil
}

// collect finds the keys to look for, and the issuer to look at.
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
		return checkInput{}, fmt.Errorf("the cluster does not tell its issuer (%s): give --issuer, as the API server has it as --service-account-issuer", strings.Join(known.readErrors, "; "))
	}
	known.keys = rotationKeys(mergeKeys(keys, files), signing)
	return known, nil
}

// signer returns the id of the key that signs now, by a token of now.
func (c *rotateCheckOptions) signer(ctx context.Context, client kubernetes.Interface, known *checkInput) (string, error) {
	namespace, err := c.namespace()
	if err != nil {
		return "", err
	}
	seconds := int64(probeSeconds)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{probeAudience}, ExpirationSeconds: &seconds}}
	answer, err := client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, c.serviceAccount, request, metav1.CreateOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		known.readErrors = append(known.readErrors, fmt.Sprintf("which key signs now cannot be seen: ask for a token of the ServiceAccount %s/%s: %v: choose another by -n and --serviceaccount", namespace, c.serviceAccount, err))
		return "", nil
	case err != nil:
		return "", fmt.Errorf("ask for a token of the ServiceAccount %s/%s: %w", namespace, c.serviceAccount, err)
	}
	claims, err := token.ParseUnverified(answer.Status.Token)
	if err != nil {
		return "", fmt.Errorf("read the token of the ServiceAccount %s/%s: %w", namespace, c.serviceAccount, err)
	}
	known.tokenIssuer = claims.Issuer
	return claims.KeyID, nil
}

// rotationKeys are those that can sign. The one that does need not be among those that
// the cluster tells: that would be the fault to be found.
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
		return "not said"
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
