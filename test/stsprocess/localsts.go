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
	// Account is the default AWS account of local-sts.
	Account = "111122223333"
	// Region is an AWS region. local-sts accepts all.
	Region = "us-east-1"

	startTimeout   = time.Minute
	requestTimeout = 5 * time.Second
)

// The administrator's credentials, which are local-sts's published defaults.
const (
	AdminAccessKeyID = "AKIALOCALSTSADMIN000" //nolint:gosec // worth nothing
	AdminSecret      = "local-sts"
)

// DefaultBinary returns the path of the local-sts that make builds.
func DefaultBinary() string { return repopath.Path("bin", "local-sts") }

// Options are the options of Start.
type Options struct {
	// Binary is the file of local-sts; empty means the value of LOCAL_STS, or else
	// DefaultBinary.
	Binary string
	// Dir is an existing directory for the log. The caller removes it after local-sts has
	// exited.
	Dir string
	// IssuerCAFile is the file of the issuers' CA; empty means the system's CAs.
	IssuerCAFile string
	// Args are additional flags.
	Args []string
}

// Server is a started local-sts.
type Server struct {
	port    int
	log     string
	process *process.Process
}

// Start starts local-sts and waits until it responds. The context is only for the start. If
// it returns an error, local-sts does not run.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Binary == "" {
		options.Binary = os.Getenv("LOCAL_STS")
	}
	if options.Binary == "" {
		options.Binary = DefaultBinary()
	}
	if _, err := os.Stat(options.Binary); err != nil { //nolint:gosec // the caller's
		return nil, fmt.Errorf("find local-sts: %w; run `make build`", err)
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

// URL returns the address of the server, without a path.
func (s *Server) URL() string { return "http://" + freeport.Address(s.port) }

// Stop kills the server and waits until it is gone. It stores its state after each call.
func (s *Server) Stop() { s.process.Kill() }

// Ended returns a channel that is closed when the server has exited.
func (s *Server) Ended() <-chan struct{} { return s.process.Ended() }

// Logs returns the complete log.
func (s *Server) Logs() (string, error) {
	log, err := os.ReadFile(s.log)
	if err != nil {
		return "", fmt.Errorf("read log of local-sts: %w", err)
	}
	return string(log), nil
}

// AnonymousConfig returns a client configuration without credentials.
func (s *Server) AnonymousConfig() aws.Config {
	return aws.Config{Region: Region, BaseEndpoint: aws.String(s.URL())}
}

// AdminConfig returns a client configuration of the administrator, with permission to call IAM.
func (s *Server) AdminConfig() aws.Config {
	config := s.AnonymousConfig()
	config.Credentials = credentials.NewStaticCredentialsProvider(AdminAccessKeyID, AdminSecret, "")
	return config
}
