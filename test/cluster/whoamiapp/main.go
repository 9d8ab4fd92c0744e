// This program is an application that uses the AWS SDK for Go with nothing but
// its environment. Every 2 seconds it prints a line of JSON for the tests, with its
// AWS identity and the properties of its token file. It represents any
// application, such as the CloudWatch agent.
//
//	application         until it receives a signal
//	application renew   the same, with new credentials for the token each time
//	application once    once; the exit code reports whether that succeeded
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

const (
	// interval is the time between two lines of output.
	interval = 2 * time.Second
	// timeout is the limit for a call, including retries.
	timeout = 20 * time.Second
)

// report is a line of output.
type report struct {
	Time time.Time `json:"time"`
	// ARN is the identity. Error is set if there is none.
	ARN   string `json:"arn,omitempty"`
	Error string `json:"error,omitempty"`
	// User is the user ID of the process.
	User int `json:"user"`
	// Token is the token file for STS.
	Token *token `json:"token,omitempty"`
	// Expires is the expiry of the credentials.
	Expires time.Time `json:"expires,omitzero"`
}

// token is a token file: its owner, its mode, and the time when it was written.
type token struct {
	Owner   uint32    `json:"owner"`
	Mode    string    `json:"mode"`
	Written time.Time `json:"written"`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	mode := ""
	if len(os.Args) == 2 {
		mode = os.Args[1]
	}
	err := run(ctx, os.Stdout, mode)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "application: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

func run(ctx context.Context, out io.Writer, mode string) error {
	// One client for all calls, as in an application. The SDK must notice expired
	// credentials and renewed tokens.
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		now, err := ask(ctx, loaded)
		if ctx.Err() != nil {
			return nil
		}
		if encoding := json.NewEncoder(out).Encode(now); encoding != nil {
			return encoding
		}
		if mode == "once" {
			return err
		}
		if cache, ok := loaded.Credentials.(*aws.CredentialsCache); ok && mode == "renew" {
			// As if the credentials had expired. They are valid for longer than a token.
			cache.Invalidate()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// ask calls GetCallerIdentity and reads the properties of the token file.
func ask(ctx context.Context, loaded aws.Config) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	now := report{Time: time.Now().UTC(), User: os.Getuid()}
	identity, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		now.Error = err.Error()
	} else {
		now.ARN = aws.ToString(identity.Arn)
		credentials, err := loaded.Credentials.Retrieve(ctx)
		if err != nil {
			return now, err
		}
		now.Expires = credentials.Expires
	}
	if path := os.Getenv("AWS_WEB_IDENTITY_TOKEN_FILE"); path != "" {
		info, failed := os.Stat(path) //nolint:gosec // as the SDK does
		if failed != nil {
			return now, failed
		}
		now.Token = &token{Mode: info.Mode().Perm().String(), Written: info.ModTime().UTC()}
		if status, ok := info.Sys().(*syscall.Stat_t); ok {
			now.Token.Owner = status.Uid
		}
	}
	return now, err
}
