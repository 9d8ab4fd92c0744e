package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"path"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/serviceaccount"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// config is what the flags say.
type config struct {
	bindAddress       string
	port, metricsPort uint16

	kubeconfig, kubeAPI string
	kubeAPIQPS          float32
	kubeAPIBurst        int

	tlsCert, tlsKey string

	annotationPrefix     string
	tokenAudience        string
	tokenExpiration      int64
	tokenMountPath       string
	awsDefaultRegion     string
	stsRegionalEndpoint  bool
	serviceAccountLookup string

	shutdownDelay, shutdownTimeout time.Duration

	verbosity int
	version   bool
}

// newFlagSet returns the flags with their defaults, bound to config. The names
// and defaults of those that amazon-eks-pod-identity-webhook has are its own.
func newFlagSet(config *config) *pflag.FlagSet {
	flags := pflag.NewFlagSet("pod-identity-webhook", pflag.ContinueOnError)
	flags.SortFlags = false

	flags.StringVar(&config.bindAddress, "bind-address", "", "`address` to listen on; empty for all")
	flags.Uint16Var(&config.port, "port", 443, "port for admission requests and probes, over TLS; 0 for any free one")
	flags.Uint16Var(&config.metricsPort, "metrics-port", 9999, "port for metrics, over HTTP; 0 for any free one")

	flags.StringVar(&config.kubeconfig, "kubeconfig", "", "kubeconfig `file`; empty in a cluster")
	flags.StringVar(&config.kubeAPI, "kube-api", "", "`URL` of the API server, in place of the kubeconfig's")
	flags.Float32Var(&config.kubeAPIQPS, "kube-api-qps", 500, "requests per second to the API server, at most")
	flags.IntVar(&config.kubeAPIBurst, "kube-api-burst", 1000, "requests to the API server at once, at most")

	flags.StringVar(&config.tlsCert, "tls-cert", "/etc/webhook/certs/tls.crt", "PEM `file` of the serving certificate, reloaded when it changes")
	flags.StringVar(&config.tlsKey, "tls-key", "/etc/webhook/certs/tls.key", "PEM `file` of the serving certificate's key, reloaded when it changes")

	flags.StringVar(&config.annotationPrefix, "annotation-prefix", "eks.amazonaws.com", "`prefix` of the annotations on ServiceAccounts and pods")
	flags.StringVar(&config.tokenAudience, "token-audience", "sts.amazonaws.com", "`audience` of tokens whose ServiceAccount names none")
	flags.Int64Var(&config.tokenExpiration, "token-expiration", 86400, "lifetime of tokens in `seconds` where neither ServiceAccount nor pod names one; at least 600")
	flags.StringVar(&config.tokenMountPath, "token-mount-path", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "`folder` of the token in the containers")
	flags.StringVar(&config.awsDefaultRegion, "aws-default-region", "", "`region` for containers that set none; empty to set none")
	flags.BoolVar(&config.stsRegionalEndpoint, "sts-regional-endpoint", false, "use the STS endpoint of the region where the ServiceAccount does not say")
	flags.StringVar(&config.serviceAccountLookup, "service-account-lookup", string(serviceaccount.LookupLive),
		"`live` reads a ServiceAccount that is not known to have a role from the API server, so that a new one is never missed; cached does without")

	flags.DurationVar(&config.shutdownDelay, "shutdown-delay", 5*time.Second, "how long requests are still taken after SIGTERM, once not ready")
	flags.DurationVar(&config.shutdownTimeout, "shutdown-timeout", 20*time.Second, "how long requests under way may then take")

	flags.BoolVar(&config.version, "version", false, "print the version and exit")
	addKlogFlags(flags)
	return flags
}

// addKlogFlags adds those of klog, which the reference logs with. -v has its
// usual effect; the others are accepted, and have none: logs are lines of JSON
// on the standard error.
func addKlogFlags(flags *pflag.FlagSet) {
	klogFlags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(klogFlags)
	klogFlags.VisitAll(func(f *flag.Flag) {
		flags.AddGoFlag(f)
		flags.Lookup(f.Name).Hidden = f.Name != "v"
	})
	flags.Lookup("v").Usage = "log `level`: 0 what an operator should know, 4 each request, 6 and above each call to the API server"
}

// parseFlags returns a config that is valid, pflag.ErrHelp after the usage has
// been printed to usage, or all that is wrong with args.
func parseFlags(args []string, usage io.Writer) (config, error) {
	var parsed config
	flags := newFlagSet(&parsed)
	flags.SetOutput(usage)
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return config{}, fmt.Errorf("%q is no flag: all settings are flags, see --help", rest[0])
	}
	verbosity, err := strconv.Atoi(flags.Lookup("v").Value.String())
	if err != nil {
		return config{}, fmt.Errorf("-v: %w", err)
	}
	parsed.verbosity = verbosity
	parsed.tokenExpiration = token.ClampExpiration(parsed.tokenExpiration)
	return parsed, parsed.validate()
}

// validate tells all mistakes at once, each by the name of its flag.
func (c *config) validate() error {
	var mistakes []error
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	if c.annotationPrefix == "" {
		wrong("--annotation-prefix must not be empty")
	}
	if c.tokenAudience == "" {
		wrong("--token-audience must not be empty: such tokens would be for the API server itself")
	}
	if !path.IsAbs(c.tokenMountPath) {
		wrong("--token-mount-path is %q: it must be absolute", c.tokenMountPath)
	}
	switch serviceaccount.Lookup(c.serviceAccountLookup) {
	case serviceaccount.LookupLive, serviceaccount.LookupCached:
	default:
		wrong("--service-account-lookup is %q: it must be live or cached", c.serviceAccountLookup)
	}
	if c.kubeAPIQPS <= 0 || c.kubeAPIBurst <= 0 {
		wrong("--kube-api-qps and --kube-api-burst must be above 0")
	}
	if c.shutdownDelay < 0 || c.shutdownTimeout < 0 {
		wrong("--shutdown-delay and --shutdown-timeout must not be below 0")
	}
	return errors.Join(mistakes...)
}
