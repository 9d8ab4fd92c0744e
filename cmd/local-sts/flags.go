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
	secretVariable = "LOCAL_STS_ADMIN_SECRET_ACCESS_KEY" //nolint:gosec // the name of a variable, no credential
	// defaultSecret is known to everybody, as it should be: what it opens is worth
	// nothing.
	defaultSecret = "local-sts"
)

// testDoubleWarning is said by --help and by the log.
const testDoubleWarning = "local-sts is a test double of AWS for people to try things with. It is NOT AWS, and no security " +
	"boundary: its credentials open nothing but itself. Never let anything of worth trust it."

// config is what the flags say.
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
	flags.StringVar(&config.address, "address", "127.0.0.1:7480", "`host:port` to listen on; a loopback address, unless --allow-remote")
	flags.BoolVar(&config.allowRemote, "allow-remote", false, "Allow a non-loopback --address. Use it only in a test cluster.")
	flags.StringVar(&config.tlsCert, "tls-cert", "", "PEM `file` of the serving certificate; empty for HTTP")
	flags.StringVar(&config.tlsKey, "tls-key", "", "PEM `file` of its key")
	flags.StringVar(&config.accountID, "account-id", "111122223333", "the `account`, of 12 digits")
	flags.StringVar(&config.stateFile, "state-file", "", "`file` that keeps providers and roles, and what seals credentials, across restarts; of one local-sts alone; empty for memory")
	flags.StringVar(&config.issuerCAFile, "issuer-ca-file", "", "PEM `file` of CAs that are trusted for issuers, beside those of the system")
	flags.StringVar(&config.accessKeyID, "admin-access-key-id", "AKIALOCALSTSADMIN000", "access `key` id of the administrator, who alone may call IAM; the secret is "+secretVariable+" in the environment, "+defaultSecret+" without")
	flags.StringSliceVar(&config.policyARNs, "policy-arn", nil, "`ARN` of a policy that may be attached to roles, beside all of AWS's own; may be given again")
	flags.BoolVar(&config.version, "version", false, "print the version and exit")
	return flags
}

func parseFlags(args []string, secret string, stderr io.Writer) (config, error) {
	var config config
	flags := newFlagSet(&config)
	flags.SetOutput(io.Discard)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			fmt.Fprintf(stderr, "%s\n\nUsage:\n  local-sts [flags]\n  local-sts %s   ask the STS of the environment who it says that one is\n\nFlags:\n%s",
				testDoubleWarning, whoamiCommand, flags.FlagUsages())
		}
		return config, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return config, fmt.Errorf("%q: it takes no arguments but flags, or %s alone", strings.Join(rest, " "), whoamiCommand)
	}
	if config.secret = secret; secret == "" {
		config.secret = defaultSecret
	}
	if (config.tlsCert == "") != (config.tlsKey == "") {
		return config, errors.New("give --tls-cert and --tls-key, or neither")
	}
	return config, config.checkAddress()
}

func (c config) checkAddress() error {
	if !c.allowRemote && !c.isLoopback() {
		return fmt.Errorf("--address %q is not one of loopback: local-sts is a test double, and anybody who reaches it may ask it; give --allow-remote if that is what you want", c.address)
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
