package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// whoamiTimeout bounds all of it, the SDK's retries included.
const whoamiTimeout = 30 * time.Second

// whoami has the AWS SDK for Go find credentials by the environment alone, as it
// does in a container that the webhook has given its identity to, and prints what
// STS says whose they are.
func whoami(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, whoamiTimeout)
	defer cancel()
	loaded, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	identity, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "Account  %s\nUserId   %s\nArn      %s\n",
		aws.ToString(identity.Account), aws.ToString(identity.UserId), aws.ToString(identity.Arn))
	return nil
}
