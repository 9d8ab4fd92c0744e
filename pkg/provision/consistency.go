package provision

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// IAM is eventually consistent. For some seconds after CreateRole returns, other calls may
// not see the role. See IAM User Guide, "Troubleshoot IAM", "Changes that I make are not
// always immediately visible"
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency).
// So createRole waits for the new role. Another server of IAM may still not know the role
// after that, so later calls for the role are retried, too. DeleteRole is retried because
// it may still see a policy that was detached.
const (
	roleWait      = time.Minute
	retryAttempts = 8
	retryBackoff  = 5 * time.Second
)

// waitForRole waits until GetRole returns the role. It returns an error if that takes longer
// than roleWait.
func (c *Cluster) waitForRole(ctx context.Context, name string) error {
	return iam.NewRoleExistsWaiter(c.IAM).Wait(ctx, &iam.GetRoleInput{RoleName: aws.String(name)}, roleWait)
}

// retryUntilVisible returns an option that retries a call after errors for which retryable
// is true.
func retryUntilVisible(retryable func(error) bool) func(*iam.Options) {
	return func(options *iam.Options) {
		options.Retryer = retry.NewStandard(func(standard *retry.StandardOptions) {
			standard.MaxAttempts = retryAttempts
			standard.MaxBackoff = retryBackoff
			standard.Retryables = append(standard.Retryables, retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				if retryable(err) {
					return aws.TrueTernary
				}
				return aws.UnknownTernary
			}))
		})
	}
}

// isNotYetVisible reports whether IAM does not know a role yet, or still changes it for an
// earlier call. A missing policy has the same error type but another message, and retries
// do not help. IAM does not document its messages. If they change, calls are not retried.
func isNotYetVisible(err error) bool {
	if missing, ok := errors.AsType[*types.NoSuchEntityException](err); ok {
		return strings.Contains(missing.ErrorMessage(), "role with name")
	}
	return isBusy(err)
}

// isNotYetDetached reports whether IAM still sees policies of a role that is deleted.
// Retries do not help if something else blocks the deletion, such as an instance profile.
func isNotYetDetached(err error) bool {
	if conflict, ok := errors.AsType[*types.DeleteConflictException](err); ok {
		return strings.Contains(conflict.ErrorMessage(), "detach all policies")
	}
	return isBusy(err)
}

func isBusy(err error) bool {
	_, busy := errors.AsType[*types.ConcurrentModificationException](err)
	return busy
}
