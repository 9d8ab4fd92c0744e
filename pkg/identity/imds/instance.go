// Package imds asks the metadata service of an EC2 instance which account it
// belongs to.
package imds

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// partitionPath is where the metadata service names the partition, for any
// partition there will be
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html).
const partitionPath = "services/partition"

// Account returns the account and the partition of the instance that this
// process runs on. endpoint is the URL of the metadata service; empty for the
// usual one.
func Account(ctx context.Context, endpoint string) (*identity.Account, error) {
	client := imds.New(imds.Options{Endpoint: endpoint})
	document, err := client.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
	if err != nil {
		return nil, fmt.Errorf("ask the instance metadata service for the account: %w", err)
	}
	answer, err := client.GetMetadata(ctx, &imds.GetMetadataInput{Path: partitionPath})
	if err != nil {
		return nil, fmt.Errorf("ask the instance metadata service for the partition: %w", err)
	}
	defer func() { _ = answer.Content.Close() }()
	partition, err := io.ReadAll(io.LimitReader(answer.Content, 64))
	if err != nil {
		return nil, fmt.Errorf("read the partition from the instance metadata service: %w", err)
	}
	account := &identity.Account{Partition: string(partition), ID: document.AccountID}
	if err := account.Validate(); err != nil {
		return nil, fmt.Errorf("the instance metadata service: %w", err)
	}
	return account, nil
}
