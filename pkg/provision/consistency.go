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

// IAM is eventually consistent: for seconds after CreateRole has answered,
// another call may not see the role (IAM User Guide, "Troubleshoot IAM", "Changes
// that I make are not always immediately visible",
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency).
// So a role that was made is waited for, and as the next call may be answered
// by a machine that has not heard of it even then, those are patient, too. In the
// same way DeleteRole may still see a policy that was detached.
const (
	roleWait      = time.Minute
	retryAttempts = 8
	retryBackoff  = 5 * time.Second
)

// waitForRole returns when IAM shows a role that was made.
func (c *Cluster) waitForRole(ctx context.Context, name string) error {
	return iam.NewRoleExistsWaiter(c.IAM).Wait(ctx, &iam.GetRoleInput{RoleName: aws.String(name)}, roleWait)
}

// retryUntilVisible lets one call try again where that is worthwhile.
func retryUntilVisible(worthwhile func(error) bool) func(*iam.Options) {
	return func(options *iam.Options) {
		options.Retryer = retry.NewStandard(func(standard *retry.StandardOptions) {
			standard.MaxAttempts = retryAttempts
			standard.MaxBackoff = retryBackoff
			standard.Retryables = append(standard.Retryables, retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				if worthwhile(err) {
					return aws.TrueTernary
				}
				return aws.UnknownTernary
			}))
		})
	}
}

// isNotYetVisible says that IAM does not know a role, or still changes it for an
// earlier call. That a policy is missing looks the same but for the message, and
// does not mend itself. The messages are IAM's and not documented: where they
// change, the first refusal counts.
func isNotYetVisible(err error) bool {
	if missing, ok := errors.AsType[*types.NoSuchEntityException](err); ok {
		return strings.Contains(missing.ErrorMessage(), "role with name")
	}
	return isBusy(err)
}

// isNotYetDetached says that IAM still sees the policies of a role that goes.
// Something else that is in the way, such as an instance profile, stays there.
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
