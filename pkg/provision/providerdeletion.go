package provision

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// PlanProviderDeletion plans the end of the cluster's provider. One that was not
// made here is deleted only if forced. Roles that trust it are named: their
// pods get no credentials any more.
func (c *Cluster) PlanProviderDeletion(ctx context.Context, force bool) (*Plan, error) {
	existing, err := c.readProvider(ctx)
	if err != nil {
		return nil, err
	}
	arn := c.ProviderARN()
	plan := &Plan{For: "end of the OIDC provider of the issuer " + c.Issuer}
	if existing == nil {
		plan.addUnchanged(Delete, kindProvider, arn, "there is none")
		return plan, nil
	}
	if !force && !c.isManaged(existing.tags) {
		return nil, fmt.Errorf("delete OIDC provider %s: it was not made by kubectl irsa, as it has no tag %s=%s: "+
			"leave it to whoever made it, or give --force", arn, tagIssuer, c.issuerName())
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
		plan.warn("it is not known which roles trust the provider: %v", err)
		return
	}
	for _, role := range roles {
		if strings.Contains(role.trust, `"`+c.ProviderARN()+`"`) {
			plan.warn("role %s trusts the provider: its pods will get no credentials any more", role.arn)
		}
	}
}
