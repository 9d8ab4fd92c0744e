package provision

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
)

// ProviderReport is what IAM has for the cluster's issuer, and whether that is
// what the cluster needs.
type ProviderReport struct {
	ARN    string `json:"arn"`
	Issuer string `json:"issuer"`
	Exists bool   `json:"exists"`
	// Unknown says why it could not be read: then nothing of it is known.
	Unknown     string            `json:"readError,omitempty"`
	Audiences   []string          `json:"audiences,omitempty"`
	Thumbprints []string          `json:"thumbprints,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	// MadeHere says whether kubectl irsa made it, for this cluster.
	MadeHere bool `json:"madeHere"`
	// Faults are why the cluster's pods get no credentials by it.
	Faults []string `json:"faults,omitempty"`
	// Warnings are what may become faults, or cannot be seen from here.
	Warnings []string `json:"warnings,omitempty"`
}

// Provider reports on the cluster's provider. Each of audiences is needed.
func (c *Cluster) Provider(ctx context.Context, audiences []string) (*ProviderReport, error) {
	existing, err := c.readProvider(ctx)
	if err != nil {
		return nil, err
	}
	report := &ProviderReport{ARN: c.ProviderARN(), Issuer: c.Issuer}
	var seen Plan
	c.warnIssuer(ctx, &seen)
	report.Warnings = seen.Warnings
	if existing == nil {
		report.Faults = append(report.Faults, "IAM has no provider of this issuer: kubectl irsa provider create --approve")
		c.warnSimilarProvider(ctx, report)
		return report, nil
	}
	report.Exists = true
	report.Audiences, report.Thumbprints, report.Tags = existing.audiences, existing.thumbprints, existing.tags
	report.MadeHere = c.isManaged(existing.tags)
	for _, audience := range audiences {
		if !slices.Contains(existing.audiences, audience) {
			report.Faults = append(report.Faults, fmt.Sprintf(
				"the provider does not accept the audience %s: kubectl irsa provider create --audience %s --approve", audience, audience))
		}
	}
	return report, nil
}

// warnSimilarProvider names a provider that was probably meant for this issuer.
func (c *Cluster) warnSimilarProvider(ctx context.Context, report *ProviderReport) {
	misses, err := c.similarProviders(ctx)
	if err != nil {
		report.Warnings = append(report.Warnings, err.Error())
	}
	report.Faults = append(report.Faults, misses...)
}

// similarProviders says which providers differ from the cluster's only by what people
// take for the same.
func (c *Cluster) similarProviders(ctx context.Context) ([]string, error) {
	all, err := c.IAM.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	if err != nil {
		return nil, fmt.Errorf("see the other providers: %w", awsError(err))
	}
	var misses []string
	for _, entry := range all.OpenIDConnectProviderList {
		if arn := aws.ToString(entry.Arn); arn != c.ProviderARN() && similarURL(arn, c.ProviderARN()) {
			misses = append(misses, "there is "+arn+", which is another to the letter: a slash at the end and capitals count")
		}
	}
	return misses, nil
}

func similarURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}
