// Package exchange exchanges a ServiceAccount token for temporary credentials of an IAM role
// with AssumeRoleWithWebIdentity of STS. It does not validate tokens itself.
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
	// source is the source in the returned credentials.
	source = "AssumeRoleWithWebIdentity"
	// timeout limits the duration of the exchange with all retries. STS usually responds in
	// less than a second. It waits some seconds for an issuer that does not respond.
	timeout = 30 * time.Second
)

// defaultRegions maps the partition of the role to the region that is used if the
// configuration has none. Credentials are valid in all regions of the partition.
var defaultRegions = map[string]string{
	"aws-cn":     "cn-north-1",
	"aws-us-gov": "us-gov-west-1",
}

// Input holds the parameters of an exchange.
type Input struct {
	RoleARN string
	// SessionName has 2 to 64 characters of [\w+=,.@-].
	SessionName string
	// Token is the ServiceAccount token. It is secret, so errors never contain it.
	Token string
	// Duration is how long the credentials are valid: from 15 minutes to the maximum of the
	// role. 0 means the default of STS, one hour.
	Duration time.Duration
}

// Result is the result of a successful exchange.
type Result struct {
	Credentials aws.Credentials
	// AssumedRoleARN is arn:PARTITION:sts::ACCOUNT:assumed-role/ROLE/SESSION.
	AssumedRoleARN, AssumedRoleID string
	// Provider is the ARN of the OIDC provider. Audience and Subject are the claims aud and
	// sub of the token. All three are from the response of STS.
	Provider, Audience, Subject string
}

// WithWebIdentity exchanges a token. The SDK finds the STS in the configuration: the endpoint
// (AWS_ENDPOINT_URL_STS) if it is set, otherwise the STS of the region. The call is not
// signed, even if the configuration has credentials, because the token authenticates it. The
// SDK retries if the issuer did not respond to STS, as the STS API reference recommends. The
// error is always an *Error.
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
		request.DurationSeconds = aws.Int32(int32(in.Duration / time.Second)) //nolint:gosec // STS allows at most 12 hours
	}
	response, err := client.AssumeRoleWithWebIdentity(ctx, request)
	if err != nil {
		return Result{}, convertError(err, in.Token)
	}
	credentials, err := credentialsOf(response.Credentials)
	if err != nil {
		return Result{}, &Error{Reason: Other, Message: err.Error(), Err: err}
	}
	result := Result{
		Credentials: credentials, Provider: aws.ToString(response.Provider), Audience: aws.ToString(response.Audience),
		Subject: aws.ToString(response.SubjectFromWebIdentityToken),
	}
	if user := response.AssumedRoleUser; user != nil {
		result.AssumedRoleARN, result.AssumedRoleID = aws.ToString(user.Arn), aws.ToString(user.AssumedRoleId)
	}
	return result, nil
}

// regionFor returns a region in the partition of the role: arn:PARTITION:iam:...
func regionFor(roleARN string) string {
	parts := strings.SplitN(roleARN, ":", 3)
	if len(parts) == 3 {
		if region, ok := defaultRegions[parts[1]]; ok {
			return region
		}
	}
	return "us-east-1"
}

// credentialsOf converts the credentials in a response. It returns an error if they are
// missing or incomplete.
func credentialsOf(given *types.Credentials) (aws.Credentials, error) {
	if given == nil || aws.ToString(given.AccessKeyId) == "" || aws.ToString(given.SecretAccessKey) == "" || aws.ToString(given.SessionToken) == "" {
		return aws.Credentials{}, errors.New("response contains no credentials, so the endpoint is not an STS")
	}
	return aws.Credentials{
		AccessKeyID: *given.AccessKeyId, SecretAccessKey: *given.SecretAccessKey, SessionToken: *given.SessionToken,
		Source: source, CanExpire: given.Expiration != nil, Expires: aws.ToTime(given.Expiration),
	}, nil
}
