// Package minioserver runs MinIO, an S3 with an STS of its own, as a process on
// loopback that trusts a cluster's tokens.
//
// It owns the process, its settings and its directory. MinIO is software that is not
// ours: what it makes of a token shows what others make of our pods.
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
	// Region is what MinIO takes itself to be in when it is not told.
	Region = "us-east-1"
	// rootUser may do everything, with a password that is made anew.
	rootUser = "root"
)

// DefaultBinary is where this repository builds MinIO.
func DefaultBinary() string { return repopath.Path("bin", "minio", "minio") }

// Options say how to start a server.
type Options struct {
	// Binary is MinIO's file; empty means DefaultBinary.
	Binary string
	// Dir is an existing directory, empty at first, for the objects, the certificates
	// and the log. It is the caller's to remove, after Stop.
	Dir string
	// Issuer is the URL of the cluster's issuer, and IssuerCA its CA, PEM.
	Issuer   string
	IssuerCA []byte
	// Audience is the one that tokens have to be for; MinIO calls it the client id.
	Audience string
}

// Server is a MinIO that runs.
type Server struct {
	options      Options
	port         int
	rootPassword string
	process      *process.Process
	roleARN      string
}

// Start starts a server and returns when it takes tokens. The context bounds
// the start alone. On failure it is not left running.
func Start(ctx context.Context, options Options) (*Server, error) {
	if options.Binary == "" {
		options.Binary = DefaultBinary()
	}
	if _, err := os.Stat(options.Binary); err != nil {
		return nil, fmt.Errorf("find MinIO: %w; build it with `make minio`", err)
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

// trustIssuer puts the issuer's CA where MinIO looks for those it trusts.
func (s *Server) trustIssuer() error {
	directory := filepath.Join(s.certificates(), "CAs")
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, "issuer.crt"), s.options.IssuerCA, 0o600)
}

func (s *Server) certificates() string { return filepath.Join(s.options.Dir, "certificates") }

func (s *Server) log() string { return filepath.Join(s.options.Dir, "minio.log") }

// command has MinIO's settings by their names in MinIO's documentation,
// "OpenID Identity Management Settings". The role policy makes it give whoever has
// a token of the right audience a role, whose ARN it makes up.
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

// waitReady waits until MinIO serves objects and has printed its role, which it
// does when it has read the issuer's keys.
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
			return fmt.Errorf("no role is printed in %s", s.log())
		}
		return nil
	})
}

// URL is the endpoint of both S3 and STS.
func (s *Server) URL() string { return "http://" + freeport.Address(s.port) }

// RoleARN is the role that tokens are exchanged for.
func (s *Server) RoleARN() string { return s.roleARN }

// CreateBucket makes a bucket, as the store's administrator.
func (s *Server) CreateBucket(ctx context.Context, name string) error {
	client := s3.NewFromConfig(s.administrator(), func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &name}); err != nil {
		return fmt.Errorf("create bucket %s: %w", name, err)
	}
	return nil
}

// TemporaryCredentials are some with the rights of the store's administrator,
// which need no token.
func (s *Server) TemporaryCredentials(ctx context.Context) (aws.Credentials, error) {
	// MinIO ignores the role and the session name, which the SDK insists on.
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

// Stop ends the server and waits until it has.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return s.process.Stop(ctx)
}
