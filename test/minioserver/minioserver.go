// Package minioserver runs MinIO, an S3 server with its own STS, as a process on loopback
// that trusts a cluster's tokens. MinIO is third-party software, so it is an independent
// test of the tokens.
package minioserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
)

const (
	startTimeout   = time.Minute
	stopTimeout    = 30 * time.Second
	requestTimeout = 5 * time.Second
	// Region is MinIO's default region.
	Region = "us-east-1"
	// rootUser is the administrator. Its password is random.
	rootUser = "root"
)

// DefaultBinary returns the path of the MinIO that make builds.
func DefaultBinary() string { return repopath.Path("bin", "minio", "minio") }

// Options are the options of Start.
type Options struct {
	// Binary is MinIO's file; empty means DefaultBinary.
	Binary string
	// Dir is an existing empty directory for the objects, the certificates and the log. The
	// caller removes it after Stop.
	Dir string
	// Issuer is the URL of the cluster's issuer, and IssuerCA its CA in PEM.
	Issuer   string
	IssuerCA []byte
	// Audience is the required audience of tokens. MinIO calls it the client ID.
	Audience string
}

// Server is a running MinIO server.
type Server struct {
	options      Options
	port         int
	rootPassword string
	process      *process.Process
	roleARN      string
}

// Start starts a server and waits until it accepts tokens. The context is only for the
// start. If it returns an error, the server does not run.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Binary == "" {
		options.Binary = DefaultBinary()
	}
	if _, err := os.Stat(options.Binary); err != nil {
		return nil, fmt.Errorf("find MinIO: %w; run `make minio`", err)
	}
	port, err := freeport.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{options: options, port: port, rootPassword: rand.Text()}
	if err := s.trustIssuer(); err != nil {
		return nil, err
	}
	if s.process, err = process.Start(s.command()); err != nil {
		return nil, err
	}
	if err := s.waitReady(ctx); err != nil {
		s.process.Kill()
		return nil, err
	}
	return s, nil
}

// trustIssuer writes the issuer's CA to MinIO's directory of trusted CAs.
func (s *Server) trustIssuer() error {
	directory := filepath.Join(s.certificates(), "CAs")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "issuer.crt"), s.options.IssuerCA, 0o600)
}

func (s *Server) certificates() string { return filepath.Join(s.options.Dir, "certificates") }

func (s *Server) log() string { return filepath.Join(s.options.Dir, "minio.log") }

// command returns the command with MinIO's settings, which are documented in "OpenID Identity
// Management Settings". With a role policy, MinIO generates the ARN of a role for all
// tokens with the right audience.
func (s *Server) command() process.Command {
	return process.Command{
		Path: s.options.Binary,
		Args: []string{
			"server", "--address=" + freeport.Address(s.port), "--certs-dir=" + s.certificates(),
			filepath.Join(s.options.Dir, "objects"),
		},
		Env: []string{
			"HOME=" + s.options.Dir,
			"MINIO_ROOT_USER=" + rootUser,
			"MINIO_ROOT_PASSWORD=" + s.rootPassword,
			"MINIO_BROWSER=off",
			"MINIO_UPDATE=off",
			"MINIO_IDENTITY_OPENID_CONFIG_URL=" + s.options.Issuer + "/.well-known/openid-configuration",
			"MINIO_IDENTITY_OPENID_CLIENT_ID=" + s.options.Audience,
			"MINIO_IDENTITY_OPENID_ROLE_POLICY=readwrite",
		},
		Log: s.log(),
	}
}

var printedRole = regexp.MustCompile(`arn:minio:iam:[^:\s]*::role/[\w-]+`)

// waitReady waits until MinIO serves objects and has printed its role, which it does after
// it has read the issuer's keys.
func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{Timeout: requestTimeout}
	defer client.CloseIdleConnections()
	return s.process.WaitReady(ctx, func(ctx context.Context) error {
		if err := process.ExpectOK(ctx, client, s.URL()+"/minio/health/ready"); err != nil {
			return err
		}
		log, err := os.ReadFile(s.log())
		if err != nil {
			return err
		}
		if s.roleARN = printedRole.FindString(string(log)); s.roleARN == "" {
			return fmt.Errorf("got no role in %s", s.log())
		}
		return nil
	})
}

// URL returns the endpoint of both S3 and STS.
func (s *Server) URL() string { return "http://" + freeport.Address(s.port) }

// RoleARN returns the role for which MinIO exchanges tokens.
func (s *Server) RoleARN() string { return s.roleARN }

// CreateBucket creates a bucket as the store's administrator.
func (s *Server) CreateBucket(ctx context.Context, name string) error {
	client := s3.NewFromConfig(s.administrator(), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	return nil
}

// TemporaryCredentials returns credentials with the permissions of the store's administrator.
// They need no token.
func (s *Server) TemporaryCredentials(ctx context.Context) (aws.Credentials, error) {
	// MinIO ignores the role and the session name, which the SDK requires.
	provider := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(s.administrator()), s.roleARN)
	return provider.Retrieve(ctx)
}

func (s *Server) administrator() aws.Config {
	return aws.Config{
		Region:       Region,
		BaseEndpoint: aws.String(s.URL()),
		Credentials:  credentials.NewStaticCredentialsProvider(rootUser, s.rootPassword, ""),
	}
}

// Stop stops the server and waits until it has exited.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return s.process.Stop(ctx)
}
