package provision

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// PlanProviderDeletion plans the deletion of the cluster's provider. It warns of roles that
// trust the provider, because their pods will get no credentials. It returns an error if
// kubectl irsa did not create the provider, unless force is true.
func (c *Cluster) PlanProviderDeletion(ctx context.Context, force bool) (*Plan, error) {
	existing, err := c.readProvider(ctx)
	if err != nil {
		return nil, err
	}
	arn := c.ProviderARN()
	plan := &Plan{For: "deletion of the OIDC provider of issuer " + c.Issuer}
	if existing == nil {
		plan.addUnchanged(Delete, kindProvider, arn, "does not exist")
		return plan, nil
	}
	if !force && !c.isManaged(existing.tags) {
		return nil, fmt.Errorf("delete OIDC provider %s: the provider has no tag %s=%s, so kubectl irsa did not create it; "+
			"delete it with the tool that created it, or pass --force", arn, tagIssuer, c.issuerName())
	}
	c.warnTrustingRoles(ctx, plan)
	plan.addChange(Delete, kindProvider, arn, providerDetails(existing.audiences, existing.thumbprints), func(ctx context.Context) error {
		_, err := c.IAM.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(arn)})
		return err
	})
	return plan, nil
}

func (c *Cluster) warnTrustingRoles(ctx context.Context, plan *Plan) {
	roles, err := c.scanRoles(ctx)
	if err != nil {
		plan.warn("could not check which roles trust the provider: %v", err)
		return
	}
	for _, role := range roles {
		if strings.Contains(role.trust, `"`+c.ProviderARN()+`"`) {
			plan.warn("role %s trusts the provider; its pods will get no credentials after the deletion", role.arn)
		}
	}
}
