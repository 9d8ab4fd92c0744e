package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
)

// The limits of connections. A call takes milliseconds, unless it reads the keys of an
// issuer. That takes at most 5 seconds for each of the two documents.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeader         = 64 << 10
	shutdownTimeout   = 10 * time.Second
)

// run serves until ctx is done, then waits for the calls in progress. It returns an error if
// the server cannot start, fails, or does not stop within shutdownTimeout.
func run(ctx context.Context, config config, logger *slog.Logger) error {
	issuers, err := newIssuerClient(config.issuerCAFile)
	if err != nil {
		return err
	}
	handler, err := localsts.New(localsts.Options{
		AccountID: config.accountID, StateFile: config.stateFile, PolicyARNs: config.policyARNs,
		AdminAccessKeyID: config.accessKeyID, AdminSecretAccessKey: config.secret,
		IssuerClient: issuers, Logger: logger,
	})
	if err != nil {
		return err
	}
	listener, err := listen(ctx, config)
	if err != nil {
		return err
	}
	logger.WarnContext(ctx, testDoubleWarning)
	if !config.isLoopback() {
		logger.WarnContext(ctx, "Other machines can reach local-sts because of --allow-remote")
	}
	if config.secret == defaultSecret {
		logger.WarnContext(ctx, "The administrator has the public default secret", "variable", secretVariable)
	}
	logger.InfoContext(ctx, "Started serving", "address", listener.Addr().String(), "tls", config.tlsCert != "", "account", config.accountID, "stateFile", config.stateFile)
	return serve(ctx, listener, handler, logger)
}

// listen returns the listener of --address, with TLS if --tls-cert is set.
func listen(ctx context.Context, config config) (net.Listener, error) {
	var tlsConfig *tls.Config
	if config.tlsCert != "" {
		certificate, err := tls.LoadX509KeyPair(config.tlsCert, config.tlsKey)
		if err != nil {
			return nil, fmt.Errorf("read --tls-cert and --tls-key: %w", err)
		}
		tlsConfig = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.address)
	if err != nil {
		return nil, fmt.Errorf("--address: %w", err)
	}
	if tlsConfig != nil {
		listener = tls.NewListener(listener, tlsConfig)
	}
	return listener, nil
}

// serve serves until ctx is done, then waits at most shutdownTimeout for the calls in progress.
func serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	stopped := make(chan error, 1)
	go func() { stopped <- server.Serve(listener) }()
	select {
	case err := <-stopped:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// Calls in progress get their responses although ctx is done.
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(draining)
	if served := <-stopped; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// newIssuerClient returns the client that reads the keys of issuers. It trusts the CAs of the
// system and those in caFile, because an API server usually has a private CA. It returns an
// error if caFile cannot be read or contains no certificate.
func newIssuerClient(caFile string) (*http.Client, error) {
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true, IdleConnTimeout: idleTimeout,
	}
	if caFile == "" {
		return &http.Client{Transport: transport}, nil
	}
	content, err := os.ReadFile(caFile) //nolint:gosec // the flag's file
	if err != nil {
		return nil, fmt.Errorf("--issuer-ca-file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(content) {
		return nil, fmt.Errorf("--issuer-ca-file: %s contains no PEM certificate", caFile)
	}
	transport.TLSClientConfig.RootCAs = pool
	return &http.Client{Transport: transport}, nil
}
