// Package imds reads the AWS account of an EC2 instance from the instance metadata service.
package imds

import (
	"context"
	"fmt"
	"io"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// partitionPath is the path of the partition in the metadata service. See the page
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-categories.html
// in the AWS documentation.
const partitionPath = "services/partition"

// Account returns the account ID and the partition of the instance that this process runs on.
// endpoint is the URL of the metadata service, or empty for the default. Account returns an
// error if the service does not respond or returns invalid values.
func Account(ctx context.Context, endpoint string) (*identity.Account, error) {
	client := imds.New(imds.Options{Endpoint: endpoint})
	document, err := client.GetInstanceIdentityDocument(ctx, &imds.GetInstanceIdentityDocumentInput{})
	if err != nil {
		return nil, fmt.Errorf("get account from the instance metadata service: %w", err)
	}
	response, err := client.GetMetadata(ctx, &imds.GetMetadataInput{Path: partitionPath})
	if err != nil {
		return nil, fmt.Errorf("get partition from the instance metadata service: %w", err)
	}
	defer func() { _ = response.Content.Close() }()
	partition, err := io.ReadAll(io.LimitReader(response.Content, 64))
	if err != nil {
		return nil, fmt.Errorf("read partition from the instance metadata service: %w", err)
	}
	account := &identity.Account{Partition: string(partition), ID: document.AccountID}
	if err := account.Validate(); err != nil {
		return nil, fmt.Errorf("response of the instance metadata service: %w", err)
	}
	return account, nil
}
