// Package exchange exchanges a ServiceAccount's token for temporary credentials of an
// IAM role, through STS AssumeRoleWithWebIdentity. It decides nothing about tokens.
package exchange

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// defaultRegion is used where the configuration has none: STS has an endpoint in each
// region of the partition aws, and the credentials are good in all of them.
const defaultRegion = "us-east-1"

// source is what the credentials say of where they come from.
const source = "AssumeRoleWithWebIdentity"

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
// by the SDK's rules: its endpoint (AWS_ENDPOINT_URL_STS), and its region. The call is
// not signed: the token is its own credential. Its error is an *Error.
func WithWebIdentity(ctx context.Context, config aws.Config, in Input) (Result, error) {
	client := sts.NewFromConfig(config, func(o *sts.Options) {
		if o.Region == "" {
			o.Region = defaultRegion
		}
		// As STS's API reference advises for AssumeRoleWithWebIdentity: the issuer may
		// answer the next time.
		o.Retryer = retry.AddWithErrorCodes(o.Retryer, string(IDPCommunicationError))
	})
	request := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(in.RoleARN), RoleSessionName: aws.String(in.SessionName), WebIdentityToken: aws.String(in.Token),
	}
	if in.Duration > 0 {
		request.DurationSeconds = aws.Int32(int32(in.Duration / time.Second)) //nolint:gosec // STS bounds it to hours
	}
	answer, err := client.AssumeRoleWithWebIdentity(ctx, request)
	if err != nil {
		return Result{}, newError(err)
	}
	result := Result{
		Provider: aws.ToString(answer.Provider), Audience: aws.ToString(answer.Audience),
		Subject: aws.ToString(answer.SubjectFromWebIdentityToken),
	}
	if user := answer.AssumedRoleUser; user != nil {
		result.AssumedRoleARN, result.AssumedRoleID = aws.ToString(user.Arn), aws.ToString(user.AssumedRoleId)
	}
	if given := answer.Credentials; given != nil {
		result.Credentials = aws.Credentials{
			AccessKeyID: aws.ToString(given.AccessKeyId), SecretAccessKey: aws.ToString(given.SecretAccessKey),
			SessionToken: aws.ToString(given.SessionToken), Source: source,
			CanExpire: true, Expires: aws.ToTime(given.Expiration),
		}
	}
	return result, nil
}
