// This program is an application that uses the AWS SDK for Go, with nothing but
// its environment: it says who it is, again and again, and what it sees of its
// token. It stands in for any application, such as the CloudWatch agent. What it
// prints is for the tests: a line of JSON at a time.
//
//	application         until it is told to end
//	application renew   the same, with new credentials for the token each time
//	application once    once; whether that went well is its exit code
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
	// interval is how often it says who it is.
	interval = 2 * time.Second
	// timeout bounds a call, retries included.
	timeout = 20 * time.Second
)

// said is what is printed.
type said struct {
	Time time.Time `json:"time"`
	// ARN is that of the identity, Error why there is none.
	ARN   string `json:"arn,omitempty"`
	Error string `json:"error,omitempty"`
	// User is who it runs as in the container.
	User int `json:"user"`
	// Token is its token for STS.
	Token *token `json:"token,omitempty"`
	// Expires is when its credentials do.
	Expires time.Time `json:"expires,omitzero"`
}

// token is a file with a token: its owner, its mode, and when it was written.
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
	// The same client all the time, as an application has it: it is the SDK's to
	// notice that credentials or tokens end.
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
			// As if they had expired, which takes longer than a token lives.
			cache.Invalidate()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// ask asks STS, and looks at the token.
func ask(ctx context.Context, loaded aws.Config) (said, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	now := said{Time: time.Now().UTC(), User: os.Getuid()}
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
