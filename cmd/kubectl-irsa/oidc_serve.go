package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const (
	// defaultMaxAge is in seconds. The API server uses one hour. A shorter time lets the
	// next key sign earlier, because caches must have it first.
	defaultMaxAge = 300
	// drainTimeout limits how long requests in flight can take after shutdown begins.
	drainTimeout = 10 * time.Second
	// maxHeader is the maximum size of request headers in bytes. Clients need none.
	maxHeader = 8 << 10
)

// serveOptions are the options of oidc serve and the documents that it serves.
type serveOptions struct {
	oidcSource
	address       string
	certFile      string
	keyFile       string
	maxAge        time.Duration
	refresh       time.Duration
	current       atomic.Pointer[serveSnapshot]
	initialIssuer string
}

// serveSnapshot has the documents and the certificate of one refresh.
type serveSnapshot struct {
	handler     http.Handler
	certificate *tls.Certificate // nil without TLS
}

// servingReport is the output of oidc serve.
type servingReport struct {
	oidcIssuer
	// Address is the address of the listener, with http:// or https://.
	Address string   `json:"address"`
	URLs    []string `json:"urls"`
}

func newServeCommand(o *options) *cobra.Command {
	s := &serveOptions{oidcSource: oidcSource{options: o}}
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the discovery document and the key set of the issuer",
		Long: "Serve the discovery document and the key set of the issuer, at the paths of their URLs. The command runs until SIGTERM or SIGINT.\n\n" +
			"AWS reads the documents over HTTPS from the internet, at the host of the issuer. Pass a certificate for this host, or terminate TLS in a proxy. " +
			"The command reads keys and certificate again every --refresh-interval. If that fails, it keeps the last valid ones. GET /healthz is for health checks.",
		Example: "  kubectl irsa oidc serve --address :443 --tls-cert tls.crt --tls-key tls.key",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	s.addFlags(command.Flags())
	command.Flags().StringVar(&s.address, "address", "127.0.0.1:8080", "Listen on this `host:port`.")
	command.Flags().StringVar(&s.certFile, "tls-cert", "", "PEM `file` of the certificate. If empty, the command serves HTTP.")
	command.Flags().StringVar(&s.keyFile, "tls-key", "", "PEM `file` of the certificate's private key.")
	command.Flags().DurationVar(&s.maxAge, "max-age", defaultMaxAge*time.Second, "How long caches can keep the documents.")
	command.Flags().DurationVar(&s.refresh, "refresh-interval", time.Minute, "How often to read keys and certificate again.")
	command.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	return command
}

func (s *serveOptions) run(ctx context.Context) error {
	if s.refresh < time.Second || s.maxAge < 0 {
		return errors.New("--refresh-interval must be at least 1s, and --max-age must not be negative")
	}
	found, err := s.read(ctx)
	if err != nil {
		return err
	}
	if s.dryRun {
		return s.printReport(found, s.address)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.address)
	if err != nil {
		return fmt.Errorf("listen on --address %s: %w", s.address, err)
	}
	if err := s.printReport(found, listener.Addr().String()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.serve(ctx, listener)
}

// read reads keys and certificate, and replaces the current snapshot. It returns an error
// if something cannot be read, or if the cluster has another issuer than at the start.
func (s *serveOptions) read(ctx context.Context) (oidcIssuer, error) {
	ctx, cancel := context.WithTimeout(ctx, oidcTimeout)
	defer cancel()
	found, err := s.load(ctx)
	if err != nil {
		return oidcIssuer{}, err
	}
	if s.initialIssuer == "" {
		s.initialIssuer = found.URL
	}
	if found.URL != s.initialIssuer {
		return oidcIssuer{}, fmt.Errorf("the cluster's issuer changed from %s to %s; restart the command to serve the new issuer", s.initialIssuer, found.URL)
	}
	next := &serveSnapshot{}
	if next.handler, err = found.site.Handler(s.maxAge); err != nil {
		return oidcIssuer{}, err
	}
	if s.certFile != "" {
		pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
		if err != nil {
			return oidcIssuer{}, fmt.Errorf("read --tls-cert and --tls-key: %w", err)
		}
		next.certificate = &pair
	}
	s.current.Store(next)
	return found, nil
}

func (s *serveOptions) printReport(found oidcIssuer, address string) error {
	report := servingReport{oidcIssuer: found, Address: s.scheme() + "://" + address}
	for _, file := range found.site.Files {
		report.URLs = append(report.URLs, file.URL)
	}
	return s.print(report, func(out io.Writer) error {
		if err := s.describeIssuer(out, found); err != nil {
			return err
		}
		action := "Serving"
		if s.dryRun {
			action = "Without --dry-run the command would serve"
		}
		fmt.Fprintf(out, "%s at %s:\n", action, report.Address)
		for _, url := range report.URLs {
			fmt.Fprintf(out, "  %s\n", pathOf(url))
		}
		return nil
	})
}

func (s *serveOptions) scheme() string {
	if s.certFile != "" {
		return "https"
	}
	return "http"
}

// serve handles requests until ctx is done, and then completes requests in flight.
func (s *serveOptions) serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.current.Load().handler.ServeHTTP(w, r) }),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		MaxHeaderBytes: maxHeader,
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.current.Load().certificate, nil },
		},
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := s.listen(server, listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve at %s: %w", listener.Addr(), err)
		}
		return nil
	})
	group.Go(func() error {
		s.refreshLoop(ctx)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		return server.Shutdown(ctx)
	})
	return group.Wait()
}

func (s *serveOptions) listen(server *http.Server, listener net.Listener) error {
	if s.certFile != "" {
		return server.ServeTLS(listener, "", "")
	}
	return server.Serve(listener)
}

// refreshLoop reads keys and certificate at every interval, until ctx is done.
func (s *serveOptions) refreshLoop(ctx context.Context) {
	ticker := time.NewTicker(s.refresh)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if _, err := s.read(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintf(s.ErrOut, "refresh failed, still serving the previous documents: %v\n", err)
			}
		}
	}
}
