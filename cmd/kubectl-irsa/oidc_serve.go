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
	// defaultMaxAge is in seconds, and less than the API server's hour: a key must not
	// sign before caches know it.
	defaultMaxAge = 300
	// drainTimeout is for answers that are under way at the end.
	drainTimeout = 10 * time.Second
	// maxHeader bounds the headers of a request, which needs none.
	maxHeader = 8 << 10
)

// serveOptions is a server of an issuer's documents.
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

// serveSnapshot is what is served until it is read again.
type serveSnapshot struct {
	handler     http.Handler
	certificate *tls.Certificate // nil without TLS
}

// servingReport says what is served.
type servingReport struct {
	oidcIssuer
	// Address is where it listens, with http or https before it.
	Address string   `json:"address"`
	URLs    []string `json:"urls"`
}

func newServeCommand(o *options) *cobra.Command {
	s := &serveOptions{oidcSource: oidcSource{options: o}}
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the discovery document and the key set of the issuer",
		Long: "Serve the discovery document and the key set of the issuer, at the paths of their URLs, until it is told to end.\n\n" +
			"AWS reads them over HTTPS, from the internet, at the host of the issuer: give a certificate for it, or let a proxy in front have one. " +
			"Keys and certificate are read again every --refresh-interval; what cannot be read leaves what was there. GET /healthz says whether it is there.",
		Example: "  kubectl irsa oidc serve --address :443 --tls-cert tls.crt --tls-key tls.key",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.run(cmd.Context()) },
	}
	s.addFlags(command.Flags())
	command.Flags().StringVar(&s.address, "address", "127.0.0.1:8080", "`host:port` to listen at")
	command.Flags().StringVar(&s.certFile, "tls-cert", "", "PEM `file` of the certificate; without one, it serves HTTP")
	command.Flags().StringVar(&s.keyFile, "tls-key", "", "PEM `file` of its private key")
	command.Flags().DurationVar(&s.maxAge, "max-age", defaultMaxAge*time.Second, "for how long caches may keep the documents")
	command.Flags().DurationVar(&s.refresh, "refresh-interval", time.Minute, "how often keys and certificate are read again")
	command.MarkFlagsRequiredTogether("tls-cert", "tls-key")
	return command
}

func (s *serveOptions) run(ctx context.Context) error {
	if s.refresh < time.Second || s.maxAge < 0 {
		return errors.New("--refresh-interval is to be a second or more, --max-age not below 0")
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
		return fmt.Errorf("listen at --address %s: %w", s.address, err)
	}
	if err := s.printReport(found, listener.Addr().String()); err != nil {
		return errors.Join(err, listener.Close())
	}
	return s.serve(ctx, listener)
}

// read reads keys and certificate, and has them served from now on.
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
		return oidcIssuer{}, fmt.Errorf("the cluster's issuer was %s and is %s: start again for that", s.initialIssuer, found.URL)
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
		doing := "Serving"
		if s.dryRun {
			doing = "Without --dry-run it would serve"
		}
		fmt.Fprintf(out, "%s at %s:\n", doing, report.Address)
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

// serve answers until the context ends, and then what it has begun to.
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

// refreshLoop reads again what is served, until the context ends.
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
