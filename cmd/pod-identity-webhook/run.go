package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/pod-identity-webhook/pod-identity-webhook/certs"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/version"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/configmap"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/containercredentials"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/imds"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/serviceaccount"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/sources"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy/namespace"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// liveReadTimeout is the timeout of one live read with its retries. With the default
// timeout of a webhook configuration, 10 s, a request has 3 s for its read. The read then
// ends early enough to report why it failed. A request that waited for a read that hangs
// can also still start its own read. With a configured timeout below about 8 s it cannot,
// because a third of that is less than liveReadTimeout.
const liveReadTimeout = 2500 * time.Millisecond

// configMapName must not change: amazon-eks-pod-identity-webhook uses the same name.
const configMapName = "pod-identity-webhook"

// run creates the components and serves until ctx is done and all requests are drained. It
// returns an error if a component cannot be created or the server fails. It registers all
// metrics in registry.
func run(ctx context.Context, config config, logger *slog.Logger, registry httpserver.Registry) error {
	for _, flag := range slices.Sorted(maps.Keys(config.ignoredReasons)) {
		logger.WarnContext(ctx, "Flag has no effect", "flag", "--"+flag, "reason", config.ignoredReasons[flag])
	}
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(version.This()),
	)
	api, err := newAPIConfig(config)
	if err != nil {
		return err
	}
	client, err := corev1client.NewForConfig(api)
	if err != nil {
		return fmt.Errorf("create client for %s: %w", api.Host, err)
	}
	defaults, err := newDefaults(ctx, config)
	if err != nil {
		return err
	}

	var parts components
	certificate, err := newCertificate(config, api, logger, registry)
	if err != nil {
		return err
	}
	parts.add(certificate.Run, certificate.Valid)
	clients, err := newClients(config, logger, registry, &parts)
	if err != nil {
		return err
	}
	serviceAccounts := serviceaccount.New(serviceaccount.Config{
		Client:      client,
		Defaults:    defaults,
		Lookup:      objectcache.Mode(config.serviceAccountLookup),
		ReadTimeout: liveReadTimeout,
		Logger:      logger,
		Metrics:     registry,
	})
	parts.add(serviceAccounts.Run, serviceAccounts.Synced)
	parts.degraded = append(parts.degraded, serviceAccounts.Healthy)
	resolver := &sources.Resolver{
		Accounts:                     serviceAccounts,
		ContainerCredentialsAudience: config.ContainerCredentialsAudience,
	}
	if config.watchConfigMap {
		mapping := configmap.New(configmap.Config{
			Client: client, Namespace: config.namespace, Name: configMapName,
			Defaults: defaults, Logger: logger, Metrics: registry,
		})
		parts.add(mapping.Run, mapping.Synced)
		resolver.Mapping = mapping
	}
	if config.ContainerCredentialsConfig != "" {
		listed := containercredentials.New(config.ContainerCredentialsConfig, logger, registry)
		parts.add(listed.Run, nil)
		resolver.ContainerCredentials = listed
	}
	mutate := webhook.MutateConfig{
		Resolver: resolver,
		Settings: config.Inject(),
		Logger:   logger,
		Metrics:  registry,
	}
	if mode := rolepolicy.Mode(config.RolePolicy); mode != rolepolicy.Off {
		policies := namespace.New(namespace.Config{
			Client: client, Prefix: config.AnnotationPrefix, Mode: mode,
			Lookup: objectcache.Mode(config.serviceAccountLookup), ReadTimeout: liveReadTimeout, Logger: logger, Metrics: registry,
		})
		parts.add(policies.Run, policies.Synced)
		parts.degraded = append(parts.degraded, policies.Healthy)
		mutate.Policy = policies
	}
	admission := webhook.New(webhook.Config{
		Mutate: webhook.NewMutator(mutate).Handle,
		ValidateServiceAccount: webhook.ValidateServiceAccount(
			webhook.ValidationMode(config.serviceAccountValidation), config.Rules(), logger),
		Memory:  func(ctx context.Context) webhook.Memory { return httpserver.ReservationFrom(ctx) },
		Logger:  logger,
		Metrics: registry,
	})
	served := httpserver.Options{
		GetCertificate:  certificate.GetCertificate,
		ClientAuth:      clients,
		Ready:           parts.ready,
		Degraded:        parts.degraded,
		Handlers:        admission.Handlers(),
		OnReject:        admission.Rejected,
		OnPanic:         admission.Panicked,
		ShutdownDelay:   config.shutdownDelay,
		ShutdownTimeout: config.shutdownTimeout,
		Logger:          logger,
		Registry:        registry,
	}
	if config.debuggingHandlers {
		served.Debug = webhook.NewDebug(serviceAccounts.Identities)
		if onHostNetwork(hostsFile) {
			logger.WarnContext(ctx, "Refusing all requests for /debug, because each process of the node is a local client with hostNetwork", "flag", "--enable-debugging-handlers")
			served.Debug = webhook.RefuseDebug()
		}
	}
	parts.add(tuneGC(parts.allReady), nil)
	return serve(ctx, config, served, &parts)
}

// serve opens the ports and serves, with the components in the background.
func serve(ctx context.Context, config config, served httpserver.Options, parts *components) (err error) {
	if served.MinTLSVersion, err = parseTLSVersion(config.tlsMinVersion); err != nil {
		return err
	}
	if served.CipherSuites, err = parseCipherSuites(config.tlsCipherSuites); err != nil {
		return err
	}
	if served.Listener, err = listen(ctx, config.bindAddress, config.port); err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	if served.MetricsListener, err = listen(ctx, config.bindAddress, config.metricsPort); err != nil {
		return fmt.Errorf("--metrics-port: %w", err)
	}
	// Requests in flight need the components until they are drained, after ctx is done.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	running := parts.start(background)
	defer running.Wait()
	defer stop()
	return httpserver.New(served).Run(ctx)
}

// components are the parts of the program that run next to the server.
type components struct {
	runs  []func(context.Context)
	ready []func() error
	// degraded is for httpserver.Options.
	degraded []func() error
}

// add adds a component that runs until its context is done. It is ready when ready returns
// nil, or immediately if ready is nil.
func (p *components) add(run func(context.Context), ready func() error) {
	p.runs = append(p.runs, run)
	if ready != nil {
		p.ready = append(p.ready, ready)
	}
}

// allReady reports whether all components are ready.
func (p *components) allReady() bool {
	return !slices.ContainsFunc(p.ready, func(ready func() error) bool { return ready() != nil })
}

func (p *components) start(ctx context.Context) *sync.WaitGroup {
	var running sync.WaitGroup
	for _, run := range p.runs {
		running.Go(func() { run(ctx) })
	}
	return &running
}

// accountTimeout is the timeout of requests to the instance metadata service, which
// responds in milliseconds if it exists.
const accountTimeout = 10 * time.Second

func newDefaults(ctx context.Context, config config) (identity.Defaults, error) {
	account := config.Account()
	if config.ComposeRoleARN && account == nil {
		ctx, cancel := context.WithTimeout(ctx, accountTimeout)
		defer cancel()
		found, err := imds.Account(ctx, "")
		if err != nil {
			return identity.Defaults{}, fmt.Errorf("--compose-role-arn: %w; if there is no instance metadata service, set --aws-account-id and --aws-partition", err)
		}
		account = found
	}
	return config.Defaults(account), nil
}

// certificate is the source of the serving certificate.
type certificate interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Valid returns an error if the certificate is known not to be trusted by API servers.
	Valid() error
	Run(context.Context)
}

func newCertificate(config config, api *rest.Config, logger *slog.Logger, metrics prometheus.Registerer) (certificate, error) {
	if !config.ownCertificates {
		return certs.NewFileSource(config.tlsCert, config.tlsKey, logger, metrics)
	}
	return certs.NewRotator(certs.RotatorConfig{
		API:                  api,
		Service:              types.NamespacedName{Namespace: config.namespace, Name: config.serviceName},
		Secret:               config.tlsSecret,
		WebhookConfiguration: config.webhookConfiguration,
		CALifetime:           config.tlsCALifetime,
		ServingLifetime:      config.tlsCertLifetime,
		Logger:               logger,
		Metrics:              metrics,
	})
}

// newAPIConfig returns the client configuration for the API server: that of
// --kubeconfig and --kube-api, or that of the pod if both are empty. It returns an error
// if there is none.
func newAPIConfig(config config) (*rest.Config, error) {
	api, err := loadAPIConfig(config)
	if err != nil {
		return nil, err
	}
	api = rest.AddUserAgent(api, "pod-identity-webhook")
	api.QPS = config.kubeAPIQPS
	api.Burst = config.kubeAPIBurst
	api.ContentType = "application/vnd.kubernetes.protobuf"
	return api, nil
}

// loadAPIConfig calls rest.InClusterConfig itself, because clientcmd logs a warning before
// it does the same.
func loadAPIConfig(config config) (*rest.Config, error) {
	if config.kubeconfig == "" && config.kubeAPI == "" {
		api, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("configure client for the API server from the environment of the pod: %w; outside of a cluster, set --kubeconfig", err)
		}
		return api, nil
	}
	api, err := clientcmd.BuildConfigFromFlags(config.kubeAPI, config.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("configure client for the API server with --kubeconfig and --kube-api: %w", err)
	}
	return api, nil
}

func listen(ctx context.Context, address string, port uint16) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
}

// newLogger returns a logger of JSON lines. klog, with which client-go logs, writes to it
// too. verbosity is that of klog: 0 for operators, 4 for each request.
func newLogger(w io.Writer, verbosity int) *slog.Logger {
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.Level(-verbosity), ReplaceAttr: formatAttr}))
	klog.SetSlogLogger(logger)
	return logger
}

// formatAttr makes attributes readable. A line of klog at verbosity 1 has the slog level
// -1, which slog formats as DEBUG+3. The result has only the name of a level. Durations
// become text, such as 1.5s, and not nanoseconds.
func formatAttr(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && attr.Key == slog.LevelKey {
		if level, ok := attr.Value.Any().(slog.Level); ok {
			attr.Value = slog.StringValue(levelName(level))
		}
	}
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}

func levelName(level slog.Level) string {
	switch {
	case level < slog.LevelInfo:
		return "DEBUG"
	case level < slog.LevelWarn:
		return "INFO"
	case level < slog.LevelError:
		return "WARN"
	default:
		return "ERROR"
	}
}
