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

// liveReadTimeout bounds one live read with its retries. It is less than the 3 s
// that a request has for its read where the webhook configuration has the default
// timeout of 10 s: so the request learns why the read failed, and one that had to
// wait for a read which hangs can still read by itself. With a timeout below about
// 8 s it cannot: a third of that is less.
const liveReadTimeout = 2500 * time.Millisecond

// configMapName is a contract with those who come from the reference.
const configMapName = "pod-identity-webhook"

// run wires the parts together and serves until ctx is done and all is drained.
// It registers all metrics in registry.
func run(ctx context.Context, config config, logger *slog.Logger, registry httpserver.Registry) error {
	for _, flag := range slices.Sorted(maps.Keys(config.ignoredReasons)) {
		logger.WarnContext(ctx, "a flag has no effect", "flag", "--"+flag, "why", config.ignoredReasons[flag])
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
		return fmt.Errorf("make client for %s: %w", api.Host, err)
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

// serve opens the ports and serves with the parts in the background.
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
	// What the requests under way need must outlive ctx until they are drained.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	running := parts.start(background)
	defer running.Wait()
	defer stop()
	return httpserver.New(served).Run(ctx)
}

// components are what runs beside the server.
type components struct {
	runs  []func(context.Context)
	ready []func() error
	// degraded is what httpserver.Options calls so.
	degraded []func() error
}

// add takes a part that runs until its context is done, and that is ready once
// ready, if it is not nil, returns nil.
func (p *components) add(run func(context.Context), ready func() error) {
	p.runs = append(p.runs, run)
	if ready != nil {
		p.ready = append(p.ready, ready)
	}
}

// allReady says whether all parts are ready.
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

// accountTimeout bounds the questions to the instance metadata service, which
// answers in milliseconds where there is one.
const accountTimeout = 10 * time.Second

func newDefaults(ctx context.Context, config config) (identity.Defaults, error) {
	account := config.Account()
	if config.ComposeRoleARN && account == nil {
		ctx, cancel := context.WithTimeout(ctx, accountTimeout)
		defer cancel()
		found, err := imds.Account(ctx, "")
		if err != nil {
			return identity.Defaults{}, fmt.Errorf("--compose-role-arn: %w; where there is no such service, give --aws-account-id and --aws-partition", err)
		}
		account = found
	}
	return config.Defaults(account), nil
}

// certificate is where the serving certificate comes from.
type certificate interface {
	GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Valid returns nil if API servers can trust it, as far as is known.
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

func newAPIConfig(config config) (*rest.Config, error) {
	api, err := clientcmd.BuildConfigFromFlags(config.kubeAPI, config.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server (--kubeconfig, --kube-api, or the environment of a pod): %w", err)
	}
	api = rest.AddUserAgent(api, "pod-identity-webhook")
	api.QPS = config.kubeAPIQPS
	api.Burst = config.kubeAPIBurst
	api.ContentType = "application/vnd.kubernetes.protobuf"
	return api, nil
}

func listen(ctx context.Context, address string, port uint16) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(address, strconv.Itoa(int(port))))
}

// newLogger returns a logger of JSON lines that client-go's own log joins.
// verbosity is klog's: 0 for what an operator should know, 4 for each request.
func newLogger(w io.Writer, verbosity int) *slog.Logger {
	logger := slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.Level(-verbosity)}))
	klog.SetSlogLogger(logger)
	return logger
}
