// Package stsprocess runs the built local-sts as a process on loopback.
package stsprocess

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

const (
	// Account is the one that it plays, if Args say no other.
	Account = "111122223333"
	// Region is one of those that it stands for, which are all.
	Region = "us-east-1"

	startTimeout   = time.Minute
	requestTimeout = 5 * time.Second
)

// The credentials of the administrator, which are its defaults, and known to everybody.
const (
	AdminAccessKeyID = "AKIALOCALSTSADMIN000" //nolint:gosec // worth nothing
	AdminSecret      = "local-sts"
)

// DefaultBinary is where this repository builds it.
func DefaultBinary() string { return repopath.Path("bin", "local-sts") }

// Options say how to start one.
type Options struct {
	// Binary is its file; empty means LOCAL_STS of the environment, or else
	// DefaultBinary.
	Binary string
	// Dir is an existing directory for its log. It is the caller's to remove, after it
	// has ended.
	Dir string
	// IssuerCAFile is of the CA of the issuers; empty for the system's.
	IssuerCAFile string
	// Args are further flags.
	Args []string
}

// Server is one that was started.
type Server struct {
	port    int
	log     string
	process *process.Process
}

// Start starts one and returns when it answers. The context bounds the start alone.
// On failure it is not left running.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Binary == "" {
		options.Binary = os.Getenv("LOCAL_STS")
	}
	if options.Binary == "" {
		options.Binary = DefaultBinary()
	}
	if _, err := os.Stat(options.Binary); err != nil { //nolint:gosec // the caller's
		return nil, fmt.Errorf("find local-sts: %w; build it with `make build`", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	port, err := freeport.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{port: port, log: filepath.Join(options.Dir, "local-sts.log")}
	args := []string{"--address=127.0.0.1:" + strconv.Itoa(port)}
	if options.IssuerCAFile != "" {
		args = append(args, "--issuer-ca-file="+options.IssuerCAFile)
	}
	s.process, err = process.Start(process.Command{Path: options.Binary, Args: append(args, options.Args...), Log: s.log})
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: requestTimeout, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	err = s.process.WaitReady(ctx, func(ctx context.Context) error {
		return process.ExpectOK(ctx, client, s.URL()+"/healthz")
	})
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// URL is its address, with no path.
func (s *Server) URL() string { return "http://" + freeport.Address(s.port) }

// Stop ends it and waits until it is gone. What it keeps is written at each call.
func (s *Server) Stop() { s.process.Kill() }

// Ended is closed when it has ended.
func (s *Server) Ended() <-chan struct{} { return s.process.Ended() }

// Logs returns all that it has logged.
func (s *Server) Logs() (string, error) {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return "", fmt.Errorf("read the log of local-sts: %w", err)
	}
	return string(log), nil
}

// AnonymousConfig is that of a client with no credentials.
func (s *Server) AnonymousConfig() aws.Config {
	return aws.Config{Region: Region, BaseEndpoint: aws.String(s.URL())}
}

// AdminConfig is that of the administrator, who may call IAM.
func (s *Server) AdminConfig() aws.Config {
	config := s.AnonymousConfig()
	config.Credentials = credentials.NewStaticCredentialsProvider(AdminAccessKeyID, AdminSecret, "")
	return config
}
