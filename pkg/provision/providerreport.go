package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// ProviderReport is the state of the OIDC provider of the cluster's issuer in IAM.
type ProviderReport struct {
	ARN    string `json:"arn"`
	Issuer string `json:"issuer"`
	Exists bool   `json:"exists"`
	// Unknown is the error if the provider could not be read. The other fields are then
	// empty.
	Unknown     string            `json:"readError,omitempty"`
	Audiences   []string          `json:"audiences,omitempty"`
	Thumbprints []string          `json:"thumbprints,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	// MadeHere reports whether kubectl irsa created the provider for this cluster.
	MadeHere bool `json:"madeHere"`
	// Faults are the reasons why the cluster's pods get no credentials.
	Faults []string `json:"faults,omitempty"`
	// Warnings are possible problems, and checks that could not run.
	Warnings []string `json:"warnings,omitempty"`
}

// Provider returns a report on the cluster's provider. It reports a fault for each of the
// audiences that the provider does not accept. It returns an error if the provider cannot
// be read.
func (c *Cluster) Provider(ctx context.Context, audiences []string) (*ProviderReport, error) {
	existing, err := c.readProvider(ctx)
	if err != nil {
		return nil, err
	}
	report := &ProviderReport{ARN: c.ProviderARN(), Issuer: c.Issuer}
	var plan Plan
	c.warnIssuer(ctx, &plan)
	report.Warnings = plan.Warnings
	if existing == nil {
		report.Faults = append(report.Faults, "IAM has no OIDC provider of this issuer; run: kubectl irsa provider create --approve")
		c.warnSimilarProvider(ctx, report)
		return report, nil
	}
	report.Exists = true
	report.Audiences, report.Thumbprints, report.Tags = existing.audiences, existing.thumbprints, existing.tags
	report.MadeHere = c.isManaged(existing.tags)
	for _, audience := range audiences {
		if !slices.Contains(existing.audiences, audience) {
			report.Faults = append(report.Faults, fmt.Sprintf(
				"the provider does not accept the audience %s; run: kubectl irsa provider create --audience %s --approve", audience, audience))
		}
	}
	return report, nil
}

// warnSimilarProvider adds a fault for each provider that was probably meant for the issuer.
func (c *Cluster) warnSimilarProvider(ctx context.Context, report *ProviderReport) {
	similar, err := c.similarProviders(ctx)
	if err != nil {
		report.Warnings = append(report.Warnings, err.Error())
	}
	report.Faults = append(report.Faults, similar...)
}

// similarProviders returns a message for each provider with an ARN similar to that of the
// cluster's provider. A similar ARN differs only in case or in a slash at the end.
func (c *Cluster) similarProviders(ctx context.Context) ([]string, error) {
	all, err := c.IAM.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil, fmt.Errorf("list OIDC providers: %w", awsError(err))
	}
	var similar []string
	for _, entry := range all.OpenIDConnectProviderList {
		if arn := aws.ToString(entry.Arn); arn != c.ProviderARN() && similarURL(arn, c.ProviderARN()) {
			similar = append(similar, "IAM has the OIDC provider "+arn+", which differs only in case or in a slash at the end; AWS does not use it for this issuer")
		}
	}
	return similar, nil
}

func similarURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}
