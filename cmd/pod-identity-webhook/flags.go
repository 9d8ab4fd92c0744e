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

// minCertLifetime leaves an API server the time to see a new CA.
const minCertLifetime = 10 * time.Second

// maxVerbosity is below 8, at which client-go logs the bodies of its requests and
// their answers: the Secret with the CA's key is among them.
const maxVerbosity = 7

// config is what the flags say.
type config struct {
	bindAddress       string
	port, metricsPort uint16

	kubeconfig, kubeAPI string
	kubeAPIQPS          float32
	kubeAPIBurst        int
	namespace           string

	// ownCertificates says that the serving certificate is not that of the files
	// tlsCert and tlsKey, but one of a CA of our own.
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

	// ignoredReasons is which flags were given and have no effect, and why.
	ignoredReasons map[string]string
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
	flags.IntVar(&config.kubeAPIBurst, "kube-api-burst", 1000, "Maximum burst of requests to the API server.")
	flags.StringVar(&config.namespace, "namespace", "eks", "`namespace` of the webhook, where its Service, its Secret and the ConfigMap of --watch-config-map are")

	flags.BoolVar(&config.inCluster, "in-cluster", true, "make a CA, sign the serving certificate with it, and publish it in the webhook configurations, unless --tls-cert or --tls-key is given")
	flags.StringVar(&config.serviceName, "service-name", "pod-identity-webhook", "`name` of the Service that the API server calls, for the certificate")
	flags.StringVar(&config.tlsSecret, "tls-secret", "pod-identity-webhook", "`name` of the Secret in which all replicas keep the CA; the serving certificate is in memory only")
	flags.StringVar(&config.webhookConfiguration, "webhook-configuration", "pod-identity-webhook", "`name` of the mutating and the validating webhook configuration in which the CA is published")
	flags.DurationVar(&config.tlsCALifetime, "tls-ca-lifetime", 365*24*time.Hour, "how long a new CA is valid; another takes over after two thirds; at least three times --tls-cert-lifetime")
	flags.DurationVar(&config.tlsCertLifetime, "tls-cert-lifetime", 30*24*time.Hour, "how long the serving certificate is valid, which each replica replaces after two thirds; also how long the caBundle keeps former CAs and the entries of others")
	flags.StringVar(&config.tlsCert, "tls-cert", "/etc/webhook/certs/tls.crt", "PEM `file` of the serving certificate, in place of one of our own; reloaded when it changes")
	flags.StringVar(&config.tlsKey, "tls-key", "/etc/webhook/certs/tls.key", "PEM `file` of the serving certificate's key, reloaded when it changes")
	flags.StringVar(&config.tlsMinVersion, "tls-min-version", "1.2", "lowest `version` of TLS: 1.0 to 1.3, or VersionTLS10 to VersionTLS13")
	flags.StringSliceVar(&config.tlsCipherSuites, "tls-cipher-suites", nil, "comma-separated `names` of the cipher suites of TLS 1.2 and below; empty for Go's choice")

	flags.StringVar(&config.clientCAFile, "client-ca-file", "", "PEM `file` with the CAs that sign the API server's client certificate. If set, only clients with such a certificate may send admission requests. Reloaded when it changes.")
	flags.StringSliceVar(&config.clientCANames, "client-ca-allowed-names", []string{"kube-apiserver"}, "Comma-separated `names`. The client certificate must have one of them as common name or subjectAltName; * allows any name.")

	config.AddFlags(flags)

	flags.StringVar(&config.serviceAccountLookup, "service-account-lookup", string(objectcache.Live),
		"`live` gets the ServiceAccount, and with --role-policy the Namespace, of each admission from the API server, so that nothing stale decides; cached uses the watch's cache while the watch is healthy")
	flags.BoolVar(&config.watchConfigMap, "watch-config-map", false, "read roles also from the ConfigMap pod-identity-webhook in --namespace")

	flags.StringVar(&config.serviceAccountValidation, "serviceaccount-validation", string(webhook.ValidationWarn), "mistakes in the annotations of a ServiceAccount that is written: `warn`, deny, or off")
	flags.BoolVar(&config.debuggingHandlers, "enable-debugging-handlers", false, "Serve /debug on the metrics port, to loopback clients only. Refused in a pod with hostNetwork.")

	flags.DurationVar(&config.shutdownDelay, "shutdown-delay", 5*time.Second, "How long the server keeps accepting requests after SIGTERM, while it reports not ready.")
	flags.DurationVar(&config.shutdownTimeout, "shutdown-timeout", 20*time.Second, "How long in-flight requests may take after --shutdown-delay.")

	flags.BoolVar(&config.version, "version", false, "print the version and exit")
	addKlogFlags(flags)
	addIgnoredFlags(flags)
	return flags
}

// ignoredFlags are the reference's that have lost their meaning, and why.
var ignoredFlags = map[string]string{
	"service-account-lookup-grace-period": "each ServiceAccount is read from the API server, see --service-account-lookup",
	"resync-period":                       "identities follow their ServiceAccounts without it",
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

// selfSignedCertFlags have no effect where the certificate is of files.
var selfSignedCertFlags = []string{"service-name", "tls-secret", "webhook-configuration", "tls-ca-lifetime", "tls-cert-lifetime"}

// flagsThatNeed have no effect without another flag.
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

// ignoredReasons returns which of the flags that were given have no effect, and
// why.
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
			found[f.Name] = "it needs --" + needed
		}
		if version, _ := parseTLSVersion(flags.Lookup("tls-min-version").Value.String()); f.Name == "tls-cipher-suites" && version == tls.VersionTLS13 {
			found[f.Name] = "cipher suites of TLS 1.3 cannot be chosen"
		}
	})
	return found
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
	flags.Lookup("v").Usage = "log `level`: 0 what an operator should know, 4 each request, 6 each call to the API server; more than 7 is 7"
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
	parsed.verbosity = min(verbosity, maxVerbosity)
	parsed.ownCertificates = parsed.inCluster && !flags.Changed("tls-cert") && !flags.Changed("tls-key")
	parsed.ignoredReasons = ignoredReasons(flags, parsed.ownCertificates)
	return parsed, parsed.validate()
}

// validate tells all mistakes at once, each by the name of its flag.
func (c *config) validate() error {
	mistakes := c.Validate()
	wrong := func(format string, args ...any) { mistakes = append(mistakes, fmt.Errorf(format, args...)) }
	mistaken := func(err error) {
		if err != nil {
			mistakes = append(mistakes, err)
		}
	}
	switch objectcache.Mode(c.serviceAccountLookup) {
	case objectcache.Live, objectcache.Cached:
	default:
		wrong("--service-account-lookup is %q: it must be live or cached", c.serviceAccountLookup)
	}
	named := func(flag, name string, faults func(string) []string) {
		if len(faults(name)) > 0 {
			wrong("--%s is %q: it must be the name of an object, such as pod-identity-webhook", flag, name)
		}
	}
	if c.ownCertificates || c.watchConfigMap {
		named("namespace", c.namespace, validation.IsDNS1123Label)
	}
	if c.ownCertificates {
		named("service-name", c.serviceName, validation.IsDNS1123Label)
		named("tls-secret", c.tlsSecret, validation.IsDNS1123Subdomain)
		named("webhook-configuration", c.webhookConfiguration, validation.IsDNS1123Subdomain)
		if c.tlsCertLifetime < minCertLifetime {
			wrong("--tls-cert-lifetime is %s: it must be at least %s", c.tlsCertLifetime, minCertLifetime)
		}
		if c.tlsCALifetime/3 < c.tlsCertLifetime {
			wrong("--tls-ca-lifetime is %s: it must be at least three times --tls-cert-lifetime, %s, such as the defaults 8760h and 720h", c.tlsCALifetime, c.tlsCertLifetime)
		}
	}
	_, err := parseTLSVersion(c.tlsMinVersion)
	mistaken(err)
	_, err = parseCipherSuites(c.tlsCipherSuites)
	mistaken(err)
	mistaken(validateClientNames(c.clientCANames))
	if _, err := webhook.ParseValidationMode(c.serviceAccountValidation); err != nil {
		wrong("--serviceaccount-validation: %w", err)
	}
	if c.port == c.metricsPort && c.port != 0 {
		wrong("--port and --metrics-port are both %d: they must differ, such as 443 and 9999", c.port)
	}
	// Not a number is neither above nor below 0.
	if !(c.kubeAPIQPS > 0) || math.IsInf(float64(c.kubeAPIQPS), 0) {
		wrong("--kube-api-qps is %v: it must be a number above 0, such as 500", c.kubeAPIQPS)
	}
	if c.kubeAPIBurst <= 0 {
		wrong("--kube-api-burst is %d: it must be above 0, such as 1000", c.kubeAPIBurst)
	}
	if c.shutdownDelay < 0 {
		wrong("--shutdown-delay is %s: it must not be below 0, such as 5s", c.shutdownDelay)
	}
	// With none, each rollout would cut requests off, and so refuse pods.
	if c.shutdownTimeout <= 0 {
		wrong("--shutdown-timeout is %s: it must be above 0, such as 20s", c.shutdownTimeout)
	}
	if c.verbosity < 0 {
		wrong("-v is %d: it must be 0 to %d", c.verbosity, maxVerbosity)
	}
	return errors.Join(mistakes...)
}
