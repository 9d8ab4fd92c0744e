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

// whoamiTimeout limits the duration of the command. The SDK retries up to AWS_MAX_ATTEMPTS
// times if STS does not respond.
const whoamiTimeout = time.Minute

// The variables that SDKs require for IRSA.
const (
	roleVariable  = "AWS_ROLE_ARN"
	tokenVariable = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable
)

// whoami calls GetCallerIdentity with the configuration in the environment and prints the
// response. It does what a program with an AWS SDK does in a container that the webhook has
// changed. It works with any STS. It returns an error if no region is set or the call fails.
func whoami(ctx context.Context, stdout io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, whoamiTimeout)
	defer cancel()
	loaded, err := awsconfig.LoadDefaultConfig(ctx)
	if err != nil {
		return fmt.Errorf("load AWS configuration: %w", err)
	}
	if loaded.Region == "" {
		return errors.New("AWS region is not configured; set AWS_REGION, or the webhook's --aws-default-region")
	}
	identity, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("get caller identity from STS: %w%s", err, missingEnvHint())
	}
	_, err = fmt.Fprintf(stdout, "Account  %s\nUserId   %s\nArn      %s\n",
		aws.ToString(identity.Account), aws.ToString(identity.UserId), aws.ToString(identity.Arn))
	return err
}

// missingEnvHint returns a hint if the variables that the webhook injects are missing, and ""
// otherwise.
func missingEnvHint() string {
	for _, variable := range []string{roleVariable, tokenVariable} {
		if os.Getenv(variable) == "" {
			return "; " + variable + " is not set: the webhook injects it only into pods that are created after their ServiceAccount has a role"
		}
	}
	return ""
}
