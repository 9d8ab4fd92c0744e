package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/klog/v2"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/settings"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// minCertLifetime gives API servers time to see a new CA.
const minCertLifetime = 10 * time.Second

// maxVerbosity is less than 8: from 8 on, client-go logs the bodies of requests and
// responses, including the Secret with the key of the CA.
const maxVerbosity = 7

// config has the values of the flags.
type config struct {
	bindAddress       string
	port, metricsPort uint16

	kubeconfig, kubeAPI string
	kubeAPIQPS          float32
	kubeAPIBurst        int
	namespace           string

	// ownCertificates reports whether the webhook signs the serving certificate with its
	// own CA, and does not read it from tlsCert and tlsKey.
	ownCertificates                bool
	inCluster                      bool
	serviceName, tlsSecret         string
	webhookConfiguration           string
	tlsCALifetime, tlsCertLifetime time.Duration
	tlsCert, tlsKey                string
	tlsMinVersion                  string
	tlsCipherSuites                []string

	clientCAFile  string
	clientCANames []string

	settings.Settings

	serviceAccountLookup string
	watchConfigMap       bool

	serviceAccountValidation string
	debuggingHandlers        bool

	shutdownDelay, shutdownTimeout time.Duration

	verbosity int
	version   bool

	// ignoredReasons has the flags that are set but have no effect, with the reasons.
	ignoredReasons map[string]string
}

// newFlagSet returns the flags with their defaults, bound to config. Flags that
// amazon-eks-pod-identity-webhook also has have the same names and defaults.
func newFlagSet(config *config) *pflag.FlagSet {
	flags := pflag.NewFlagSet("pod-identity-webhook", pflag.ContinueOnError)
	flags.SortFlags = false

	flags.StringVar(&config.bindAddress, "bind-address", "", "IP `address` to listen on; empty for all addresses.")
	flags.Uint16Var(&config.port, "port", 443, "Port for admission requests and probes, over TLS; 0 for any free port.")
	flags.Uint16Var(&config.metricsPort, "metrics-port", 9999, "Port for metrics, over HTTP; 0 for any free port.")

	flags.StringVar(&config.kubeconfig, "kubeconfig", "", "Path of the kubeconfig `file`. Leave it empty in a cluster.")
	flags.StringVar(&config.kubeAPI, "kube-api", "", "`URL` of the API server. It overrides the URL in the kubeconfig.")
	flags.Float32Var(&config.kubeAPIQPS, "kube-api-qps", 500, "Maximum rate of requests to the API server, per second.")
	flags.IntVar(&config.kubeAPIBurst, "kube-api-burst", 1000, "Maximum burst of requests to the API server.")
	flags.StringVar(&config.namespace, "namespace", "eks", "`Namespace` of the webhook, with its Service, its Secret and the ConfigMap of --watch-config-map.")

	flags.BoolVar(&config.inCluster, "in-cluster", true, "If true, create a CA, sign the serving certificate with it, and publish it in the webhook configurations. Ignored if --tls-cert or --tls-key is set.")
	flags.StringVar(&config.serviceName, "service-name", "pod-identity-webhook", "`Name` of the Service that the API server calls, for the serving certificate.")
	flags.StringVar(&config.tlsSecret, "tls-secret", "pod-identity-webhook", "`Name` of the Secret in which all replicas store the CA. The serving certificate is only in memory.")
	flags.StringVar(&config.webhookConfiguration, "webhook-configuration", "pod-identity-webhook", "`Name` of the mutating and the validating webhook configuration in which the webhook publishes the CA.")
	flags.DurationVar(&config.tlsCALifetime, "tls-ca-lifetime", 365*24*time.Hour, "How long a new CA is valid. It is replaced after two thirds of that. Must be at least three times --tls-cert-lifetime.")
	flags.DurationVar(&config.tlsCertLifetime, "tls-cert-lifetime", 30*24*time.Hour, "How long the serving certificate is valid. Each replica replaces it after two thirds of that. Former CAs and entries of other clients stay in the caBundle for the same time.")
	flags.StringVar(&config.tlsCert, "tls-cert", "/etc/webhook/certs/tls.crt", "PEM `file` with the serving certificate. If set, the webhook does not create its own. Reloaded when it changes.")
	flags.StringVar(&config.tlsKey, "tls-key", "/etc/webhook/certs/tls.key", "PEM `file` with the key of the serving certificate. Reloaded when it changes.")
	flags.StringVar(&config.tlsMinVersion, "tls-min-version", "1.2", "Minimum `version` of TLS: 1.0 to 1.3, or VersionTLS10 to VersionTLS13.")
	flags.StringSliceVar(&config.tlsCipherSuites, "tls-cipher-suites", nil, "Comma-separated `names` of the cipher suites for TLS 1.2 and below; empty for Go's default.")

	flags.StringVar(&config.clientCAFile, "client-ca-file", "", "PEM `file` with the CAs that sign the API server's client certificate. If set, only clients with such a certificate may send admission requests. Reloaded when it changes.")
	flags.StringSliceVar(&config.clientCANames, "client-ca-allowed-names", []string{"kube-apiserver"}, "Comma-separated `names`. The client certificate must have one of them as common name or subjectAltName; * allows any name.")

	config.AddFlags(flags)

	flags.StringVar(&config.serviceAccountLookup, "service-account-lookup", string(objectcache.Live),
		"`Mode` of the lookup. One of: (live, cached). With live, the webhook gets the ServiceAccount, and with --role-policy the Namespace, from the API server for each pod, so that the data is never stale. With cached, it uses the cache of the watch while the watch is healthy.")
	flags.BoolVar(&config.watchConfigMap, "watch-config-map", false, "If true, also read roles from the ConfigMap pod-identity-webhook in --namespace.")

	flags.StringVar(&config.serviceAccountValidation, "serviceaccount-validation", string(webhook.ValidationWarn), "What to do about mistakes in the annotations of a ServiceAccount that is written: `warn`, deny, or off.")
	flags.BoolVar(&config.debuggingHandlers, "enable-debugging-handlers", false, "If true, serve /debug on the metrics port, to loopback clients only. Disabled in a pod with hostNetwork.")

	flags.DurationVar(&config.shutdownDelay, "shutdown-delay", 5*time.Second, "How long the server keeps accepting requests after SIGTERM, while it reports not ready.")
	flags.DurationVar(&config.shutdownTimeout, "shutdown-timeout", 20*time.Second, "How long in-flight requests may take after --shutdown-delay.")

	flags.BoolVar(&config.version, "version", false, "Print the version and exit.")
	addKlogFlags(flags)
	addIgnoredFlags(flags)
	return flags
}

// ignoredFlags are the flags of amazon-eks-pod-identity-webhook that have no effect, with
// the reasons.
var ignoredFlags = map[string]string{
	"service-account-lookup-grace-period": "the webhook reads each ServiceAccount from the API server, see --service-account-lookup",
	"resync-period":                       "the webhook watches ServiceAccounts and needs no resync",
}

func addIgnoredFlags(flags *pflag.FlagSet) {
	flags.Duration("service-account-lookup-grace-period", 0, "")
	flags.Duration("resync-period", 0, "")
	for name, why := range ignoredFlags {
		flag := flags.Lookup(name)
		flag.Usage = "no effect: " + why
		flag.Hidden = true
	}
}

// selfSignedCertFlags have no effect if the certificate is read from files.
var selfSignedCertFlags = []string{"service-name", "tls-secret", "webhook-configuration", "tls-ca-lifetime", "tls-cert-lifetime"}

// flagsThatNeed maps flags to the flag without which they have no effect.
var flagsThatNeed = map[string]string{
	"client-ca-allowed-names":                 "client-ca-file",
	"aws-account-id":                          "compose-role-arn",
	"aws-partition":                           "aws-account-id",
	"container-credentials-audience":          "watch-container-credentials-config",
	"container-credentials-token-mount-path":  "watch-container-credentials-config",
	"container-credentials-token-volume-name": "watch-container-credentials-config",
	"container-credentials-token-path":        "watch-container-credentials-config",
	"container-credentials-full-uri":          "watch-container-credentials-config",
}

// ignoredReasons returns the flags that are set but have no effect, with the reasons.
func ignoredReasons(flags *pflag.FlagSet, ownCertificates bool) map[string]string {
	found := map[string]string{}
	flags.Visit(func(f *pflag.Flag) {
		if why, without := ignoredFlags[f.Name]; without {
			found[f.Name] = why
		}
		if !ownCertificates && slices.Contains(selfSignedCertFlags, f.Name) {
			found[f.Name] = "the serving certificate comes from --tls-cert and --tls-key"
		}
		if needed, needs := flagsThatNeed[f.Name]; needs && flags.Lookup(needed).Value.String() == flags.Lookup(needed).DefValue {
			found[f.Name] = "requires --" + needed
		}
		if version, _ := parseTLSVersion(flags.Lookup("tls-min-version").Value.String()); f.Name == "tls-cipher-suites" && version == tls.VersionTLS13 {
			found[f.Name] = "cipher suites of TLS 1.3 cannot be configured"
		}
	})
	return found
}

// addKlogFlags adds the flags of klog, which amazon-eks-pod-identity-webhook has. -v sets
// the log level. The others are accepted and have no effect, because the log is always
// lines of JSON on standard error.
func addKlogFlags(flags *pflag.FlagSet) {
	klogFlags := flag.NewFlagSet("klog", flag.ContinueOnError)
	klog.InitFlags(klogFlags)
	klogFlags.VisitAll(func(f *flag.Flag) {
		flags.AddGoFlag(f)
		flags.Lookup(f.Name).Hidden = f.Name != "v"
	})
	flags.Lookup("v").Usage = "Log `level`: 0 for operators, 4 to log each admission request, 6 to log each request to the API server. Values above 7 have the effect of 7."
}

// parseFlags returns a valid config. If args request help, it prints the usage to usage and
// returns pflag.ErrHelp. It returns an error with all mistakes if args are invalid.
func parseFlags(args []string, usage io.Writer) (config, error) {
	var parsed config
	flags := newFlagSet(&parsed)
	flags.SetOutput(usage)
	if err := flags.Parse(args); err != nil {
		return config{}, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return config{}, fmt.Errorf("%q is not a flag: there are no other arguments, see --help", rest[0])
	}
	verbosity, err := strconv.Atoi(flags.Lookup("v").Value.String())
	if err != nil {
		return config{}, fmt.Errorf("-v: %w", err)
	}
	parsed.verbosity = min(verbosity, maxVerbosity)
	parsed.ownCertificates = parsed.inCluster && !flags.Changed("tls-cert") && !flags.Changed("tls-key")
	parsed.ignoredReasons = ignoredReasons(flags, parsed.ownCertificates)
	return parsed, parsed.validate()
}

// validate returns an error with all invalid values, each with the name of its flag.
func (c *config) validate() error {
	mistakes := c.Validate()
	invalid := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	addError := func(err error) {
		if err != nil {
			mistakes = append(mistakes, err)
		}
	}
	switch objectcache.Mode(c.serviceAccountLookup) {
	case objectcache.Live, objectcache.Cached:
	default:
		invalid("--service-account-lookup is %q: must be live or cached", c.serviceAccountLookup)
	}
	checkName := func(flag, name string, validate func(string) []string) {
		if len(validate(name)) > 0 {
			invalid("--%s is %q: must be the name of an object, such as pod-identity-webhook", flag, name)
		}
	}
	if c.ownCertificates || c.watchConfigMap {
		checkName("namespace", c.namespace, validation.IsDNS1123Label)
	}
	if c.ownCertificates {
		checkName("service-name", c.serviceName, validation.IsDNS1123Label)
		checkName("tls-secret", c.tlsSecret, validation.IsDNS1123Subdomain)
		checkName("webhook-configuration", c.webhookConfiguration, validation.IsDNS1123Subdomain)
		if c.tlsCertLifetime < minCertLifetime {
			invalid("--tls-cert-lifetime is %s: must be at least %s", c.tlsCertLifetime, minCertLifetime)
		}
		if c.tlsCALifetime/3 < c.tlsCertLifetime {
			invalid("--tls-ca-lifetime is %s: must be at least three times --tls-cert-lifetime, %s, such as the defaults 8760h and 720h", c.tlsCALifetime, c.tlsCertLifetime)
		}
	}
	_, err := parseTLSVersion(c.tlsMinVersion)
	addError(err)
	_, err = parseCipherSuites(c.tlsCipherSuites)
	addError(err)
	addError(validateClientNames(c.clientCANames))
	if _, err := webhook.ParseValidationMode(c.serviceAccountValidation); err != nil {
		invalid("--serviceaccount-validation: %w", err)
	}
	if c.port == c.metricsPort && c.port != 0 {
		invalid("--port and --metrics-port are both %d: they must differ, such as 443 and 9999", c.port)
	}
	// NaN is neither greater nor less than 0.
	if !(c.kubeAPIQPS > 0) || math.IsInf(float64(c.kubeAPIQPS), 0) {
		invalid("--kube-api-qps is %v: must be a number above 0, such as 500", c.kubeAPIQPS)
	}
	if c.kubeAPIBurst <= 0 {
		invalid("--kube-api-burst is %d: must be above 0, such as 1000", c.kubeAPIBurst)
	}
	if c.shutdownDelay < 0 {
		invalid("--shutdown-delay is %s: must not be below 0, such as 5s", c.shutdownDelay)
	}
	// Without it, each rollout would abort requests, so that pods could not be created.
	if c.shutdownTimeout <= 0 {
		invalid("--shutdown-timeout is %s: must be above 0, such as 20s", c.shutdownTimeout)
	}
	if c.verbosity < 0 {
		invalid("-v is %d: must be 0 to %d", c.verbosity, maxVerbosity)
	}
	return errors.Join(mistakes...)
}
