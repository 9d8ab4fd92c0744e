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

// Bounds of connections. A call takes milliseconds, but for the reading of an
// issuer's keys, which has a bound of 5 s for each document.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 10 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeader         = 64 << 10
	shutdownTimeout   = 10 * time.Second
)

// run serves until ctx is done and all calls are answered.
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
		logger.WarnContext(ctx, "others than this machine can reach it: --allow-remote")
	}
	if config.secret == defaultSecret {
		logger.WarnContext(ctx, "the administrator's secret is the default, which everybody knows: set "+secretVariable+" for another")
	}
	logger.InfoContext(ctx, "local-sts listens", "address", listener.Addr().String(), "tls", config.tlsCert != "", "account", config.accountID, "stateFile", config.stateFile)
	return serve(ctx, listener, handler, logger)
}

func listen(ctx context.Context, config config) (net.Listener, error) {
	var secured *tls.Config
	if config.tlsCert != "" {
		certificate, err := tls.LoadX509KeyPair(config.tlsCert, config.tlsKey)
		if err != nil {
			return nil, fmt.Errorf("read --tls-cert and --tls-key: %w", err)
		}
		secured = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.address)
	if err != nil {
		return nil, fmt.Errorf("--address: %w", err)
	}
	if secured != nil {
		listener = tls.NewListener(listener, secured)
	}
	return listener, nil
}

func serve(ctx context.Context, listener net.Listener, handler http.Handler, logger *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	// What is under way is answered, though ctx is done.
	draining, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := server.Shutdown(draining)
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// newIssuerClient returns what reads the keys of issuers. AWS trusts the CAs of the
// internet; a cluster's API server has a CA of its own.
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
		return nil, fmt.Errorf("--issuer-ca-file: %s has no certificate in PEM", caFile)
	}
	transport.TLSClientConfig.RootCAs = pool
	return &http.Client{Transport: transport}, nil
}
