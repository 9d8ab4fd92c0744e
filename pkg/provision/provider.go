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

// ProviderSpec is the OIDC provider that the cluster should have.
type ProviderSpec struct {
	// Audiences are the audiences to accept, which IAM calls client IDs.
	Audiences []string
	// Thumbprints are the SHA-1 fingerprints of the issuer's CA, in 40 hexadecimal
	// digits each. AWS verifies the issuer with its own list of CAs and uses thumbprints
	// only for other CAs. If there are none, IAM gets one itself
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html).
	Thumbprints []string
	Tags        map[string]string
}

var thumbprints = regexp.MustCompile(`^[0-9A-Fa-f]{40}$`)

func (s ProviderSpec) check() error {
	if len(s.Audiences) == 0 {
		return fmt.Errorf("no audience; pass --audience, for example %s", DefaultAudience)
	}
	for _, audience := range s.Audiences {
		if audience == "" || strings.ContainsAny(audience, " \t\n") {
			return fmt.Errorf("--audience %q: must not be empty or contain spaces; use for example %s", audience, DefaultAudience)
		}
	}
	for _, thumbprint := range s.Thumbprints {
		if !thumbprints.MatchString(thumbprint) {
			return fmt.Errorf("--thumbprint %q: must be the SHA-1 of a certificate, in 40 hexadecimal digits without colons", thumbprint)
		}
	}
	return checkTags(s.Tags)
}

// provider is an OIDC provider in IAM.
type provider struct {
	audiences, thumbprints []string
	tags                   map[string]string
}

// readProvider returns the cluster's provider, or nil if it does not exist.
func (c *Cluster) readProvider(ctx context.Context) (*provider, error) {
	found, err := c.IAM.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(c.ProviderARN())})
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get OIDC provider %s: %w", c.ProviderARN(), awsError(err))
	}
	return &provider{
		audiences:   slices.Sorted(slices.Values(found.ClientIDList)),
		thumbprints: slices.Sorted(slices.Values(found.ThumbprintList)),
		tags:        fromIAM(found.Tags),
	}, nil
}

// PlanProvider plans the provider of the cluster's issuer. It keeps audiences and tags of
// an existing provider that spec does not have. It returns an error if spec is invalid or
// the provider cannot be read.
func (c *Cluster) PlanProvider(ctx context.Context, spec ProviderSpec) (*Plan, error) {
	if err := spec.check(); err != nil {
		return nil, err
	}
	existing, err := c.readProvider(ctx)
	if err != nil {
		return nil, err
	}
	plan := &Plan{For: "OIDC provider of issuer " + c.Issuer}
	c.warnIssuer(ctx, plan)
	if existing == nil {
		// The warnings are optional, because the caller may lack permission to list
		// providers.
		if similar, err := c.similarProviders(ctx); err == nil {
			plan.Warnings = append(plan.Warnings, similar...)
		}
		c.createProvider(plan, spec)
		return plan, nil
	}
	c.updateProvider(plan, spec, existing)
	return plan, nil
}

// warnIssuer adds the reasons why IAM may reject the issuer, or AWS cannot read it.
func (c *Cluster) warnIssuer(ctx context.Context, plan *Plan) {
	plan.Warnings = append(plan.Warnings, IssuerWarnings(c.Issuer)...)
	if c.Reach == nil {
		return
	}
	if err := c.Reach(ctx, c.Issuer); err != nil {
		plan.warn("the issuer could not be read from here without credentials, as AWS reads it: %v", err)
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
		plan.warn("the provider has no tag %s=%s, so kubectl irsa did not create it; kubectl irsa provider delete needs --force to delete it", tagIssuer, c.issuerName())
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
			plan.warn("the provider also accepts the audience %s, which stays; "+
				"if it is not needed, run: aws iam remove-client-id-from-open-id-connect-provider --open-id-connect-provider-arn %s --client-id %s", audience, arn, audience)
		}
	}
}

// updateThumbprints replaces the thumbprints if spec has some and they differ. It does not
// keep the old ones, because AWS would continue to trust their CA.
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
