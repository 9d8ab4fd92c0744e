package localsts_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

const (
	issuerURL   = "https://oidc.example.com/id/one"
	providerARN = "arn:aws:iam::" + account + ":oidc-provider/oidc.example.com/id/one"
)

func tagsOf(pairs ...string) []types.Tag {
	var tags []types.Tag
	for i := 0; i < len(pairs); i += 2 {
		tags = append(tags, types.Tag{Key: aws.String(pairs[i]), Value: aws.String(pairs[i+1])})
	}
	return tags
}

func plain(tags []types.Tag) string {
	var all []string
	for _, tag := range tags {
		all = append(all, *tag.Key+"="+*tag.Value)
	}
	return strings.Join(all, " ")
}

func expectText(t *testing.T, name, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
}

func expectNone(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOIDCProvider_lifecycle(t *testing.T) {
	d := newTestServer(t, nil)
	client, ctx := d.iam(), t.Context()
	thumbprint := strings.Repeat("aB", 20)
	created, err := client.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String(issuerURL), ClientIDList: []string{"b", "a"}, ThumbprintList: []string{thumbprint}, Tags: tagsOf("owner", "shop"),
	})
	expectNone(t, err)
	expectText(t, "ARN", *created.OpenIDConnectProviderArn, providerARN)
	expectText(t, "tags", plain(created.Tags), "owner=shop")
	arn := created.OpenIDConnectProviderArn

	_, err = client.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL)})
	expectError(t, err, "EntityAlreadyExists", 409, "Provider with url "+issuerURL+" already exists.")
	expectType[*types.EntityAlreadyExistsException](t, err)

	for range 2 { // both are idempotent
		_, err = client.AddClientIDToOpenIDConnectProvider(ctx, &iam.AddClientIDToOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("c")})
		expectNone(t, err)
		_, err = client.RemoveClientIDFromOpenIDConnectProvider(ctx, &iam.RemoveClientIDFromOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, ClientID: aws.String("a")})
		expectNone(t, err)
	}
	_, err = client.UpdateOpenIDConnectProviderThumbprint(ctx, &iam.UpdateOpenIDConnectProviderThumbprintInput{
		OpenIDConnectProviderArn: arn, ThumbprintList: []string{strings.Repeat("0", 40)},
	})
	expectNone(t, err)
	_, err = client.TagOpenIDConnectProvider(ctx, &iam.TagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, Tags: tagsOf("Owner", "billing", "stage", "", "x", "y")})
	expectNone(t, err)
	_, err = client.UntagOpenIDConnectProvider(ctx, &iam.UntagOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn, TagKeys: []string{"X", "missing"}})
	expectNone(t, err)

	got, err := client.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	expectNone(t, err)
	expectText(t, "URL", *got.Url, "oidc.example.com/id/one")
	expectText(t, "tags", plain(got.Tags), "Owner=billing stage=")
	if !reflect.DeepEqual(got.ClientIDList, []string{"b", "c"}) || !reflect.DeepEqual(got.ThumbprintList, []string{strings.Repeat("0", 40)}) {
		t.Errorf("got clients %q, thumbprints %q", got.ClientIDList, got.ThumbprintList)
	}
	if !got.CreateDate.Equal(d.clock.Now()) {
		t.Errorf("got creation time %s", got.CreateDate)
	}
	tags, err := client.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn, MaxItems: aws.Int32(1)})
	expectNone(t, err)
	if !tags.IsTruncated || plain(tags.Tags) != "Owner=billing" {
		t.Errorf("got first page %q, truncated %t", plain(tags.Tags), tags.IsTruncated)
	}
	tags, err = client.ListOpenIDConnectProviderTags(ctx, &iam.ListOpenIDConnectProviderTagsInput{OpenIDConnectProviderArn: arn, Marker: tags.Marker})
	expectNone(t, err)
	if tags.IsTruncated || plain(tags.Tags) != "stage=" {
		t.Errorf("got second page %q, truncated %t", plain(tags.Tags), tags.IsTruncated)
	}
	listed, err := client.ListOpenIDConnectProviders(ctx, &iam.ListOpenIDConnectProvidersInput{})
	expectNone(t, err)
	if len(listed.OpenIDConnectProviderList) != 1 || *listed.OpenIDConnectProviderList[0].Arn != providerARN {
		t.Errorf("got providers %+v", listed.OpenIDConnectProviderList)
	}
	for range 2 {
		_, err = client.DeleteOpenIDConnectProvider(ctx, &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
		expectNone(t, err)
	}
	_, err = client.GetOpenIDConnectProvider(ctx, &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: arn})
	expectError(t, err, "NoSuchEntity", 404, "OpenIDConnect Provider not found for arn "+providerARN)
	expectType[*types.NoSuchEntityException](t, err)
}

func TestAssumeRoleWithWebIdentity_providerDeleted(t *testing.T) {
	d, c := prepared(t)
	_, err := d.iam().DeleteOpenIDConnectProvider(t.Context(), &iam.DeleteOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(c.providerARN())})
	expectNone(t, err)
	_, err = d.sts(nil).AssumeRoleWithWebIdentity(t.Context(), assume(c.sign(t, c.claims(d.clock.Now()))))
	expectError(t, err, "InvalidIdentityToken", 400, "No OpenIDConnect provider found in your account for "+c.URL)
}

func TestCreateOIDCProvider_invalid(t *testing.T) {
	d := newTestServer(t, nil)
	many := func(n int) []string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf("client-%d", i))
		}
		return all
	}
	for name, test := range map[string]struct {
		in            iam.CreateOpenIDConnectProviderInput
		code, message string
	}{
		"no TLS":               {iam.CreateOpenIDConnectProviderInput{Url: aws.String("http://oidc.example.com")}, "ValidationError", "Invalid Open ID Connect Provider URL"},
		"URL with a query":     {iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://oidc.example.com?x=y")}, "ValidationError", "Invalid Open ID Connect Provider URL"},
		"URL too long":         {iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://oidc.example.com/" + strings.Repeat("x", 255))}, "ValidationError", "1 validation error detected: Value ..."},
		"thumbprint too short": {iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL), ThumbprintList: []string{"ab"}}, "ValidationError", "1 validation error detected: Value 'ab' at 'thumbprintList.1.member' failed to satisfy constraint: Member must have length greater than or equal to 40"},
		"thumbprint not hexadecimal": {
			iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL), ThumbprintList: []string{strings.Repeat("z", 40)}},
			"InvalidInput", "Thumbprint must be a 40-character hexadecimal string.",
		},
		"too many client IDs": {
			iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL), ClientIDList: many(101)},
			"ValidationError",
			"1 validation error detected: Value at 'clientIDList' failed to satisfy constraint: Member must have length less than or equal to 100",
		},
		"duplicate tag key": {
			iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL), Tags: tagsOf("a", "b", "A", "c")},
			"InvalidInput",
			"Duplicate tag keys found. Please note that Tag keys are case insensitive.",
		},
		"tag key with invalid characters": {
			iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL), Tags: tagsOf("a*", "b")},
			"ValidationError",
			`1 validation error detected: Value 'a*' at 'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: [\p{L}\p{Z}\p{N}_.:/=+\-@]+`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.iam().CreateOpenIDConnectProvider(t.Context(), &test.in)
			expectError(t, err, test.code, 400, test.message)
		})
	}
	listed, err := d.iam().ListOpenIDConnectProviders(t.Context(), &iam.ListOpenIDConnectProvidersInput{})
	expectNone(t, err)
	if len(listed.OpenIDConnectProviderList) != 0 {
		t.Errorf("failed call created a provider: %+v", listed.OpenIDConnectProviderList)
	}
}

func TestAddClientID_quota(t *testing.T) {
	d := newTestServer(t, nil)
	var clients []string
	for i := range 100 {
		clients = append(clients, fmt.Sprintf("client-%d", i))
	}
	_, err := d.iam().CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{Url: aws.String(issuerURL), ClientIDList: clients})
	expectNone(t, err)
	_, err = d.iam().AddClientIDToOpenIDConnectProvider(t.Context(), &iam.AddClientIDToOpenIDConnectProviderInput{
		OpenIDConnectProviderArn: aws.String(providerARN), ClientID: aws.String("one-more"),
	})
	expectError(t, err, "LimitExceeded", 409, "Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: 100")
	expectType[*types.LimitExceededException](t, err)
}
