package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/spf13/pflag"
)

const (
	secretVariable = "LOCAL_STS_ADMIN_SECRET_ACCESS_KEY" //nolint:gosec // the name of a variable, not a credential
	// defaultSecret is the public default secret of the administrator. It gives access only
	// to local-sts.
	defaultSecret = "local-sts"
)

// testDoubleWarning is in the output of --help and in the log.
const testDoubleWarning = "local-sts is a fake AWS STS and IAM for development. It is NOT AWS and NOT a security boundary: " +
	"its credentials are valid only at local-sts. Do not let anything valuable trust it."

// config holds the values of the flags.
type config struct {
	address      string
	allowRemote  bool
	tlsCert      string
	tlsKey       string
	accountID    string
	stateFile    string
	issuerCAFile string
	accessKeyID  string
	secret       string
	policyARNs   []string
	version      bool
}

func newFlagSet(config *config) *pflag.FlagSet {
	flags := pflag.NewFlagSet("local-sts", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(&config.address, "address", "127.0.0.1:7480", "The `host:port` to listen on. It must be a loopback address unless --allow-remote is set.")
	flags.BoolVar(&config.allowRemote, "allow-remote", false, "If true, allow an --address that is not a loopback address. Use it only in a test cluster.")
	flags.StringVar(&config.tlsCert, "tls-cert", "", "PEM `file` with the serving certificate. Without it, local-sts serves HTTP.")
	flags.StringVar(&config.tlsKey, "tls-key", "", "PEM `file` with the private key of --tls-cert.")
	flags.StringVar(&config.accountID, "account-id", "111122223333", "The `account` ID, 12 digits.")
	flags.StringVar(&config.stateFile, "state-file", "", "The `file` that keeps providers, roles and the key that encrypts credentials across restarts. Only one local-sts can use it at a time. Without it, local-sts keeps them in memory.")
	flags.StringVar(&config.issuerCAFile, "issuer-ca-file", "", "PEM `file` with trusted CAs of issuers, in addition to the CAs of the system.")
	flags.StringVar(&config.accessKeyID, "admin-access-key-id", "AKIALOCALSTSADMIN000", "Access `key` ID of the administrator, the only caller that can use IAM. The secret is the environment variable "+secretVariable+", "+defaultSecret+" by default.")
	flags.StringSliceVar(&config.policyARNs, "policy-arn", nil, "`ARN` of a policy that roles can have, in addition to all policies of AWS. Repeatable.")
	flags.BoolVar(&config.version, "version", false, "Print the version and exit.")
	return flags
}

func parseFlags(args []string, secret string, stderr io.Writer) (config, error) {
	var config config
	flags := newFlagSet(&config)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprintf(stderr, "%s\n\nUsage:\n  local-sts [flags]\n  local-sts %s   print the caller identity that the STS of the environment returns\n\nFlags:\n%s",
				testDoubleWarning, whoamiCommand, flags.FlagUsages())
		}
		return config, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return config, fmt.Errorf("unexpected arguments %q: local-sts takes only flags, or %s without flags", strings.Join(rest, " "), whoamiCommand)
	}
	if config.secret = secret; secret == "" {
		config.secret = defaultSecret
	}
	if (config.tlsCert == "") != (config.tlsKey == "") {
		return config, errors.New("--tls-cert and --tls-key must be set together")
	}
	return config, config.checkAddress()
}

// checkAddress returns an error if --address is not host:port, or not a loopback address
// without --allow-remote.
func (c config) checkAddress() error {
	if !c.allowRemote && !c.isLoopback() {
		return fmt.Errorf("--address %q is not a loopback address; any client that can reach local-sts can use it; set --allow-remote to allow this address", c.address)
	}
	if _, _, err := net.SplitHostPort(c.address); err != nil {
		return fmt.Errorf("--address: %w", err)
	}
	return nil
}

func (c config) isLoopback() bool {
	host, _, err := net.SplitHostPort(c.address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
