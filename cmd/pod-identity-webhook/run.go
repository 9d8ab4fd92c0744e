package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/pod-identity-webhook/pod-identity-webhook/certs"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/serviceaccount"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// liveReadTimeout bounds one live read. A request may have to wait for the end
// of another's read and for one of its own, and both must fit into the 10 s that
// a registration has by default.
const liveReadTimeout = 4 * time.Second

// run wires the parts together and serves until ctx is done and all is drained.
func run(ctx context.Context, config config, logger *slog.Logger) error {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)

	client, err := newClient(config)
	if err != nil {
		return err
	}
	serviceAccounts := serviceaccount.New(serviceaccount.Config{
		Client: client,
		Defaults: identity.Defaults{
			AnnotationPrefix:  config.annotationPrefix,
			Audience:          config.tokenAudience,
			RegionalSTS:       config.stsRegionalEndpoint,
			ExpirationSeconds: config.tokenExpiration,
		},
		Lookup:      serviceaccount.Lookup(config.serviceAccountLookup),
		ReadTimeout: liveReadTimeout,
		Metrics:     registry,
	})
	certificate, err := certs.NewFiles(config.tlsCert, config.tlsKey, logger, registry)
	if err != nil {
		return err
	}
	listener, err := listen(ctx, config.bindAddress, config.port)
	if err != nil {
		return fmt.Errorf("--port: %w", err)
	}
	metricsListener, err := listen(ctx, config.bindAddress, config.metricsPort)
	if err != nil {
		return fmt.Errorf("--metrics-port: %w", err)
	}
	server := webhook.New(webhook.Config{
		Listener:        listener,
		MetricsListener: metricsListener,
		GetCertificate:  certificate.GetCertificate,
		Ready: []func() error{
			serviceAccounts.Synced,
			func() error { return certificate.Valid(time.Now()) },
		},
		Mutate: webhook.Mutate(serviceAccounts, inject.Settings{
			AnnotationPrefix: config.annotationPrefix,
			MountPath:        config.tokenMountPath,
			Region:           config.awsDefaultRegion,
		}, logger),
		ShutdownDelay:   config.shutdownDelay,
		ShutdownTimeout: config.shutdownTimeout,
		Logger:          logger,
		Registry:        registry,
	})

	// What the requests under way need must outlive ctx until they are drained.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { serviceAccounts.Run(background) })
	running.Go(func() { certificate.Run(background) })
	defer running.Wait()
	defer stop()
	return server.Run(ctx)
}

func newClient(config config) (corev1client.CoreV1Interface, error) {
	restConfig, err := clientcmd.BuildConfigFromFlags(config.kubeAPI, config.kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the API server (--kubeconfig, --kube-api, or the environment of a pod): %w", err)
	}
	restConfig = rest.AddUserAgent(restConfig, "pod-identity-webhook")
	restConfig.QPS = config.kubeAPIQPS
	restConfig.Burst = config.kubeAPIBurst
	restConfig.ContentType = "application/vnd.kubernetes.protobuf"
	client, err := corev1client.NewForConfig(restConfig)
	if err != nil {
		return nil, fmt.Errorf("make client for %s: %w", restConfig.Host, err)
	}
	return client, nil
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

// version is what the Go toolchain recorded of the build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision := "unknown"
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			revision = setting.Value
		}
	}
	return fmt.Sprintf("pod-identity-webhook %s (commit %s, %s)", info.Main.Version, revision, info.GoVersion)
}
