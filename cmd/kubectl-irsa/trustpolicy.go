package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/provision"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/trustpolicy"
)

// trustPolicy are the options of the command trust-policy, which prints, checks or extends
// the trust policy of a role.
type trustPolicy struct {
	*options
	issuers              []string
	accountID, partition string
	audience             string
	// check and addTo are files with a trust policy, or - for standard input.
	check, addTo string
}

func newTrustPolicyCommand(o *options) *cobra.Command {
	t := &trustPolicy{options: o}
	command := &cobra.Command{
		Use:   "trust-policy NAMESPACE/SERVICEACCOUNT...",
		Short: "Print or check the trust policy of a role",
		Long: "Print the trust policy of a role that only the given ServiceAccounts can assume, as JSON.\n\n" +
			"In a name, * stands for any characters and ? for one. The policy then uses StringLike. A name without a namespace is in the namespace of -n. " +
			"With --issuer and --account-id the command needs neither the cluster nor AWS.\n\n" +
			"With --add-to the command reads a trust policy, and prints it with one more statement for the ServiceAccounts. It keeps all other statements. If the policy already allows the ServiceAccounts, the command prints it unchanged.\n\n" +
			"With --check the command reads a trust policy and evaluates it as AWS does. The exit code is 0 if the policy allows each ServiceAccount, and 2 if not. It is 3 if that depends on a condition key that only the real call has, such as aws:SourceIp.\n\n" +
			"--add-to and --check read what aws iam get-role prints, and URL-encoded policies.",
		Example: "  kubectl irsa trust-policy shop/cart\n" +
			"  kubectl irsa trust-policy 'shop/*' --issuer https://oidc.example.com/a --issuer https://oidc.example.com/b --account-id 111122223333\n" +
			"  aws iam get-role --role-name cart | kubectl irsa trust-policy shop/cart --check -\n" +
			"  aws iam get-role --role-name cart | kubectl irsa trust-policy shop/cart --add-to - > policy.json",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args) },
	}
	flags := command.Flags()
	flags.StringArrayVar(&t.issuers, "issuer", nil, "Issuer of the cluster's tokens. Can be repeated for several clusters. Defaults to the issuer that the API server publishes.")
	flags.StringVar(&t.accountID, "account-id", "", "AWS account of the role. Defaults to the account of the AWS credentials. With --issuer, the command then needs neither cluster nor AWS.")
	flags.StringVar(&t.partition, "partition", "aws", "Partition of --account-id, such as aws, aws-cn or aws-us-gov.")
	flags.StringVar(&t.audience, "audience", trustpolicy.DefaultAudience, "Audience of the pods' tokens.")
	flags.StringVar(&t.check, "check", "", "Trust policy `file` to check, or - for standard input.")
	flags.StringVar(&t.addTo, "add-to", "", "Trust policy `file` to print with one more statement, or - for standard input.")
	command.MarkFlagsMutuallyExclusive("check", "add-to")
	return command
}

func (t *trustPolicy) run(ctx context.Context, args []string) error {
	subjects, err := t.subjects(args)
	if err != nil {
		return err
	}
	providers, err := t.providers(ctx)
	if err != nil {
		return err
	}
	if t.check != "" {
		return t.checkFile(subjects, providers)
	}
	grants := make([]trustpolicy.Grant, 0, len(providers))
	for _, provider := range providers {
		grants = append(grants, trustpolicy.Grant{Provider: provider, Audience: t.audience, Subjects: subjects})
	}
	if t.addTo != "" {
		return t.addToFile(subjects, grants)
	}
	policy, err := trustpolicy.New(grants...)
	if err != nil {
		return err
	}
	t.warn(policy)
	return t.print(policy, func(out io.Writer) error {
		written, err := policy.Indent()
		if err != nil {
			return err
		}
		_, err = out.Write(written)
		return err
	})
}

// addToFile prints the policy of a file with one more statement for each grant that it does
// not allow yet. It warns if the policy denies a ServiceAccount with another statement.
func (t *trustPolicy) addToFile(subjects []trustpolicy.Subject, grants []trustpolicy.Grant) error {
	document, policy, err := readPolicy(t.addTo, t.In)
	if err != nil {
		return fmt.Errorf("--add-to %s: %w", t.addTo, err)
	}
	for _, grant := range grants {
		missing := slices.DeleteFunc(slices.Clone(subjects), func(s trustpolicy.Subject) bool {
			decision := policy.Evaluate(t.request(grant.Provider, s))
			if decision.ExplicitDeny {
				fmt.Fprintf(t.ErrOut, "%s %s\n", t.colorize(color.FgYellow)("Warning:"), strings.Join(decision.Explain(), "; "))
			}
			return !decision.NeedsAllow()
		})
		if len(missing) == 0 {
			continue
		}
		grant.Subjects = missing
		if policy, document, err = trustpolicy.Add(document, grant); err != nil {
			return err
		}
	}
	t.warn(policy)
	return t.print(json.RawMessage(document), func(out io.Writer) error {
		var indented bytes.Buffer
		if err := json.Indent(&indented, document, "", "  "); err != nil {
			return err
		}
		_, err := fmt.Fprintln(out, indented.String())
		return err
	})
}

// subjects parses arguments of the form NAMESPACE/SERVICEACCOUNT or SERVICEACCOUNT.
func (t *trustPolicy) subjects(args []string) ([]trustpolicy.Subject, error) {
	subjects := make([]trustpolicy.Subject, 0, len(args))
	for _, arg := range args {
		namespace, name, ok := strings.Cut(arg, "/")
		if !ok {
			current, err := t.namespace()
			if err != nil {
				return nil, err
			}
			namespace, name = current, arg
		}
		if namespace == "" || name == "" || strings.Contains(name, "/") {
			return nil, fmt.Errorf("invalid argument %q: must be NAMESPACE/SERVICEACCOUNT, such as shop/cart or 'shop/*'", arg)
		}
		subjects = append(subjects, trustpolicy.Subject{Namespace: namespace, ServiceAccount: name})
	}
	return subjects, nil
}

// providers returns the ARN of the provider of each issuer. It reads the issuer from the
// cluster and the account from STS, unless flags set them.
func (t *trustPolicy) providers(ctx context.Context) ([]string, error) {
	issuers, account := t.issuers, provision.Account{Partition: t.partition, ID: t.accountID}
	switch {
	case account.ID == "":
		p := &provisionOptions{options: t.options}
		if len(issuers) > 0 {
			p.issuer = issuers[0]
		}
		ctx, cancel := context.WithTimeout(ctx, provisionTimeout)
		defer cancel()
		cluster, err := t.connect(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%w; or pass --account-id", err)
		}
		account = cluster.Account
		if len(issuers) == 0 {
			issuers = []string{cluster.Issuer}
		}
	case len(issuers) == 0:
		client, err := t.client()
		if err != nil {
			return nil, err
		}
		issuer, err := provision.FindIssuer(ctx, client.Discovery().RESTClient())
		if err != nil {
			return nil, err
		}
		issuers = []string{issuer}
	}
	providers := make([]string, 0, len(issuers))
	for _, issuer := range issuers {
		provider, err := trustpolicy.ProviderARN(account.Partition, account.ID, issuer)
		if err != nil {
			return nil, err
		}
		providers = append(providers, provider)
	}
	return providers, nil
}

// warn prints the warnings about a policy.
func (t *trustPolicy) warn(policy trustpolicy.Document) {
	for _, warning := range policy.Warnings() {
		fmt.Fprintf(t.ErrOut, "%s %s\n", t.colorize(color.FgYellow)("Warning:"), warning)
	}
}

// checkResult is the result of --check for one ServiceAccount of one cluster.
type checkResult struct {
	Provider string `json:"provider"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
	Allowed  bool   `json:"allowed"`
	// Unknown are the condition keys that decide, and that only the real call has.
	Unknown []string `json:"unknown,omitempty"`
	Why     []string `json:"why,omitempty"`
}

// request returns the request of a ServiceAccount, without the call that sends it.
func (t *trustPolicy) request(provider string, subject trustpolicy.Subject) trustpolicy.Request {
	claims := token.Claims{Subject: token.Subject(subject.Namespace, subject.ServiceAccount), Audience: []string{t.audience}}
	return trustpolicy.ForToken(provider, claims, "").At(time.Now())
}

// checkFile evaluates the policy in a file for a token of each ServiceAccount. It returns
// the exit code exitBroken if the policy does not allow one of them, and exitUnknown if that
// depends on the call.
func (t *trustPolicy) checkFile(subjects []trustpolicy.Subject, providers []string) error {
	_, policy, err := readPolicy(t.check, t.In)
	if err == nil {
		err = policy.Validate()
	}
	if err != nil {
		return fmt.Errorf("--check %s: %w", t.check, err)
	}
	results := []checkResult{}
	var denied, unknown bool
	for _, provider := range providers {
		for _, subject := range subjects {
			if strings.ContainsAny(subject.Namespace+subject.ServiceAccount, "*?") {
				return fmt.Errorf("invalid argument %s/%s: --check does not accept wildcards, because a token belongs to one ServiceAccount", subject.Namespace, subject.ServiceAccount)
			}
			decision := policy.Evaluate(t.request(provider, subject))
			denied = denied || !decision.Allowed && !decision.Unknown
			unknown = unknown || decision.Unknown
			results = append(results, checkResult{
				provider, token.Subject(subject.Namespace, subject.ServiceAccount), t.audience,
				decision.Allowed, decision.UnknownKeys(), decision.Explain(),
			})
		}
	}
	t.warn(policy)
	if err := t.print(results, func(out io.Writer) error { return t.writeChecked(out, results) }); err != nil {
		return err
	}
	switch {
	case denied:
		return exitCodeError(exitBroken)
	case unknown:
		return exitCodeError(exitUnknown)
	default:
		return nil
	}
}

// readPolicy reads a trust policy from a file, or from in if the file is -. It returns the
// document too.
func readPolicy(file string, in io.Reader) ([]byte, trustpolicy.Document, error) {
	read := func() ([]byte, error) { return os.ReadFile(file) } //nolint:gosec // the user's own file
	if file == "-" {
		read = func() ([]byte, error) { return io.ReadAll(in) }
	}
	input, err := read()
	if err != nil {
		return nil, trustpolicy.Document{}, err
	}
	document, err := trustpolicy.Extract(input)
	if err != nil {
		return nil, trustpolicy.Document{}, err
	}
	policy, err := trustpolicy.Parse(document)
	return document, policy, err
}

func (t *trustPolicy) writeChecked(out io.Writer, results []checkResult) error {
	for _, result := range results {
		verdict := t.colorize(color.FgGreen)("allowed")
		switch {
		case len(result.Unknown) > 0:
			verdict = t.colorize(color.FgYellow)("unknown, depends on " + strings.Join(result.Unknown, ", "))
		case !result.Allowed:
			verdict = t.colorize(color.FgRed)("not allowed")
		}
		if _, err := fmt.Fprintf(out, "%s %s (issuer %s, audience %s)\n", result.Subject, verdict, trustpolicy.IssuerOf(result.Provider), result.Audience); err != nil {
			return err
		}
		for _, why := range result.Why {
			fmt.Fprintf(out, "  %s\n", why)
		}
	}
	return nil
}
