package provision

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// ProviderSpec is what the provider should be like.
type ProviderSpec struct {
	// Audiences are IAM's client ids.
	Audiences []string
	// Thumbprints are those of the certificates of the issuer's CA, 40 hex digits
	// each. AWS verifies the issuer by its own store of CAs, and looks at them
	// only where that does not know the CA; none: IAM finds one by itself
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html).
	Thumbprints []string
	Tags        map[string]string
}

var thumbprints = regexp.MustCompile(`^[0-9A-Fa-f]{40}$`)

func (s ProviderSpec) check() error {
	if len(s.Audiences) == 0 {
		return fmt.Errorf("no audience: give --audience, such as %s", DefaultAudience)
	}
	for _, audience := range s.Audiences {
		if audience == "" || strings.ContainsAny(audience, " \t\n") {
			return fmt.Errorf("--audience %q: want a text without spaces, such as %s", audience, DefaultAudience)
		}
	}
	for _, thumbprint := range s.Thumbprints {
		if !thumbprints.MatchString(thumbprint) {
			return fmt.Errorf("--thumbprint %q: want the SHA-1 of a certificate, 40 hexadecimal digits without colons", thumbprint)
		}
	}
	return checkTags(s.Tags)
}

// provider is what IAM has.
type provider struct {
	audiences, thumbprints []string
	tags                   map[string]string
}

// readProvider returns nil if IAM has none.
func (c *Cluster) readProvider(ctx context.Context) (*provider, error) {
	found, err := c.IAM.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(c.ProviderARN())})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read OIDC provider %s: %w", c.ProviderARN(), awsError(err))
	}
	return &provider{
		audiences:   slices.Sorted(slices.Values(found.ClientIDList)),
		thumbprints: slices.Sorted(slices.Values(found.ThumbprintList)),
		tags:        fromIAM(found.Tags),
	}, nil
}

// PlanProvider plans the provider of the cluster's issuer. What an existing one
// has beyond the specification stays.
func (c *Cluster) PlanProvider(ctx context.Context, spec ProviderSpec) (*Plan, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	existing, err := c.readProvider(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{For: "OIDC provider of the issuer " + c.Issuer}
	c.warnIssuer(ctx, plan)
	if existing == nil {
		// Whoever may not list providers does without this.
		if misses, err := c.similarProviders(ctx); err == nil {
			plan.Warnings = append(plan.Warnings, misses...)
		}
		c.createProvider(plan, spec)
		return plan, nil
	}
	c.updateProvider(plan, spec, existing)
	return plan, nil
}

// warnIssuer says what keeps AWS from reading the issuer.
func (c *Cluster) warnIssuer(ctx context.Context, plan *Plan) {
	plan.Warnings = append(plan.Warnings, IssuerWarnings(c.Issuer)...)
	if c.Reach == nil {
		return
	}
	if err := c.Reach(ctx, c.Issuer); err != nil {
		plan.warn("the issuer cannot be read from here without credentials, as AWS has to: %v", err)
	}
}

func (c *Cluster) createProvider(plan *Plan, spec ProviderSpec) {
	tags := c.providerTags(spec.Tags)
	details := providerDetails(spec.Audiences, spec.Thumbprints)
	plan.addChange(Create, kindProvider, c.ProviderARN(), append(details, tagDetails(tags)...), func(ctx context.Context) error {
		_, err := c.IAM.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
			Url: aws.String(c.Issuer), ClientIDList: spec.Audiences, ThumbprintList: spec.Thumbprints, Tags: toIAM(tags),
		})
		return err
	})
}

func providerDetails(audiences, thumbprints []string) []string {
	var details []string
	for _, audience := range audiences {
		details = append(details, "audience "+audience)
	}
	for _, thumbprint := range thumbprints {
		details = append(details, "thumbprint "+thumbprint)
	}
	return details
}

func (c *Cluster) updateProvider(plan *Plan, spec ProviderSpec, existing *provider) {
	arn := c.ProviderARN()
	plan.addUnchanged(Create, kindProvider, arn, providerDetails(existing.audiences, existing.thumbprints)...)
	for _, audience := range spec.Audiences {
		if slices.Contains(existing.audiences, audience) {
			continue
		}
		plan.addChange(Update, kindProvider, arn, []string{"add audience " + audience}, func(ctx context.Context) error {
			_, err := c.IAM.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{
				OpenIDConnectProviderArn: aws.String(arn), ClientID: aws.String(audience),
			})
			return err
		})
	}
	c.updateThumbprints(plan, spec, existing)
	wanted := spec.Tags
	if !c.isManaged(existing.tags) {
		plan.warn("the provider was not made by kubectl irsa, as it has no tag %s=%s: kubectl irsa provider delete will leave it alone", tagIssuer, c.issuerName())
	}
	if missing := missingTags(existing.tags, wanted); len(missing) > 0 {
		plan.addChange(Update, kindProvider, arn, tagDetails(missing), func(ctx context.Context) error {
			_, err := c.IAM.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{
				OpenIDConnectProviderArn: aws.String(arn), Tags: toIAM(missing),
			})
			return err
		})
	}
	for _, audience := range existing.audiences {
		if !slices.Contains(spec.Audiences, audience) {
			plan.warn("the provider accepts the audience %s as well, which stays: "+
				"if nobody needs it, aws iam remove-client-id-from-open-id-connect-provider --open-id-connect-provider-arn %s --client-id %s", audience, arn, audience)
		}
	}
}

// updateThumbprints replaces the thumbprints if some are given and differ: to
// keep old ones would go on trusting a CA that is no longer meant.
func (c *Cluster) updateThumbprints(plan *Plan, spec ProviderSpec, existing *provider) {
	wanted := make([]string, 0, len(spec.Thumbprints))
	for _, thumbprint := range spec.Thumbprints {
		wanted = append(wanted, strings.ToLower(thumbprint))
	}
	slices.Sort(wanted)
	if len(wanted) == 0 || slices.EqualFunc(wanted, existing.thumbprints, strings.EqualFold) {
		return
	}
	arn := c.ProviderARN()
	details := make([]string, 0, len(wanted))
	for _, thumbprint := range wanted {
		details = append(details, "thumbprint "+thumbprint)
	}
	for _, thumbprint := range existing.thumbprints {
		if !slices.Contains(wanted, strings.ToLower(thumbprint)) {
			details = append(details, "instead of thumbprint "+thumbprint)
		}
	}
	plan.addChange(Update, kindProvider, arn, details, func(ctx context.Context) error {
		_, err := c.IAM.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{
			OpenIDConnectProviderArn: aws.String(arn), ThumbprintList: wanted,
		})
		return err
	})
}
