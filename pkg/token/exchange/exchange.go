// Package exchange exchanges a ServiceAccount's token for temporary credentials of an
// IAM role, through STS AssumeRoleWithWebIdentity. It decides nothing about tokens.
package exchange

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
)

const (
	// source is what the credentials say of where they come from.
	source = "AssumeRoleWithWebIdentity"
	// timeout bounds the exchange with all its retries: STS answers in well under a
	// second, and waits some seconds for an issuer that does not.
	timeout = 30 * time.Second
)

// defaultRegions are those that are used where the configuration has none, by the
// partition of the role: credentials of any region are good in all of its partition.
var defaultRegions = map[string]string{
	"aws-cn":     "cn-north-1",
	"aws-us-gov": "us-gov-west-1",
}

// Input is what is asked for.
type Input struct {
	RoleARN string
	// SessionName is 2 to 64 characters of [\w+=,.@-].
	SessionName string
	// Token is a credential, and is never part of an error.
	Token string
	// Duration is how long the credentials are good for: 15 minutes up to what the
	// role allows; 0 for STS's default, an hour.
	Duration time.Duration
}

// Result is what STS gives for it.
type Result struct {
	Credentials aws.Credentials
	// AssumedRoleARN is arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION.
	AssumedRoleARN, AssumedRoleID string
	// Provider, Audience and Subject are what STS found in the token: the ARN of the
	// OIDC provider, and the claims aud and sub.
	Provider, Audience, Subject string
}

// WithWebIdentity exchanges a token. The STS is the one that the configuration names,
// by the SDK's rules: its endpoint (AWS_ENDPOINT_URL_STS), and its region, whose own
// endpoint it is. The call is not signed, whatever credentials the configuration has:
// the token is its own. The SDK asks again where the issuer did not answer STS, as
// STS's API reference advises. Its error is an *Error.
func WithWebIdentity(ctx context.Context, config aws.Config, in Input) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client := sts.NewFromConfig(config, func(o *sts.Options) {
		o.Credentials = aws.AnonymousCredentials{}
		if o.Region == "" {
			o.Region = regionFor(in.RoleARN)
		}
	})
	request := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(in.RoleARN), RoleSessionName: aws.String(in.SessionName), WebIdentityToken: aws.String(in.Token),
	}
	if in.Duration > 0 {
		request.DurationSeconds = aws.Int32(int32(in.Duration / time.Second)) //nolint:gosec // STS bounds it to hours
	}
	answer, err := client.AssumeRoleWithWebIdentity(ctx, request)
	if err != nil {
		return Result{}, convertError(err, in.Token)
	}
	credentials, err := credentialsOf(answer.Credentials)
	if err != nil {
		return Result{}, &Error{Reason: Other, Message: err.Error(), Err: err}
	}
	result := Result{
		Credentials: credentials, Provider: aws.ToString(answer.Provider), Audience: aws.ToString(answer.Audience),
		Subject: aws.ToString(answer.SubjectFromWebIdentityToken),
	}
	if user := answer.AssumedRoleUser; user != nil {
		result.AssumedRoleARN, result.AssumedRoleID = aws.ToString(user.Arn), aws.ToString(user.AssumedRoleId)
	}
	return result, nil
}

// regionFor returns a region of the partition that a role is in: arn:PARTITION:iam:...
func regionFor(roleARN string) string {
	parts := strings.SplitN(roleARN, ":", 3)
	if len(parts) == 3 {
		if region, ok := defaultRegions[parts[1]]; ok {
			return region
		}
	}
	return "us-east-1"
}

func credentialsOf(given *types.Credentials) (aws.Credentials, error) {
	if given == nil || aws.ToString(given.AccessKeyId) == "" || aws.ToString(given.SecretAccessKey) == "" || aws.ToString(given.SessionToken) == "" {
		return aws.Credentials{}, errors.New("the answer has no credentials: it is not STS that answers")
	}
	return aws.Credentials{
		AccessKeyID: *given.AccessKeyId, SecretAccessKey: *given.SecretAccessKey, SessionToken: *given.SessionToken,
		Source: source, CanExpire: given.Expiration != nil, Expires: aws.ToTime(given.Expiration),
	}, nil
}
