package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// whoamiTimeout bounds it all: the SDK tries again by itself, as often as
// AWS_MAX_ATTEMPTS says, while nobody answers.
const whoamiTimeout = time.Minute

// The variables without which no SDK can do what IRSA is for.
const (
	roleVariable  = "AWS_ROLE_ARN"
	tokenVariable = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable
)

// whoami asks STS who the process is by its environment, as any application with
// an AWS SDK does in a container that the webhook has given its identity to, and
// prints the answer. It knows nothing of local-sts.
func whoami(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, whoamiTimeout)
	defer cancel()
	loaded, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("load the AWS configuration: %w", err)
	}
	if loaded.Region == "" {
		return errors.New("no AWS region is configured, and SDKs want one: set AWS_REGION, or the webhook's --aws-default-region")
	}
	identity, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("ask STS who this is: %w%s", err, missingEnvHint())
	}
	_, err = fmt.Fprintf(stdout, "Account  %s\nUserId   %s\nArn      %s\n",
		aws.ToString(identity.Account), aws.ToString(identity.UserId), aws.ToString(identity.Arn))
	return err
}

// missingEnvHint says so if the webhook has not been at work.
func missingEnvHint() string {
	for _, variable := range []string{roleVariable, tokenVariable} {
		if os.Getenv(variable) == "" {
			return "; " + variable + " is not set: the webhook gives it to pods that are created once their ServiceAccount names a role"
		}
	}
	return ""
}
