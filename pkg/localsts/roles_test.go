package localsts_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/localsts"
)

const (
	trust     = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Federated": "` + providerARN + `"}, "Action": "sts:AssumeRoleWithWebIdentity"}]}`
	allowance = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}`
	readOnly  = "arn:aws:iam::aws:policy/ReadOnlyAccess"
	service   = "arn:aws:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
	own       = "arn:aws:iam::" + account + ":policy/team/own"
)

func decoded(t *testing.T, document *string) string {
	t.Helper()
	plain, err := url.PathUnescape(aws.ToString(document))
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

func TestRole_lifecycle(t *testing.T) {
	d := newTestServer(t, nil, func(o *localsts.Options) { o.PolicyARNs = []string{own} })
	client, ctx, name := d.iam(), t.Context(), aws.String("checkout")
	created, err := client.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: name, Path: aws.String("/team/"), AssumeRolePolicyDocument: aws.String(trust), Description: aws.String("for <checkout> & co"),
		MaxSessionDuration: aws.Int32(7200), PermissionsBoundary: aws.String(readOnly), Tags: tagsOf("owner", "shop"),
	})
	expectNone(t, err)
	expectText(t, "ARN", *created.Role.Arn, "arn:aws:iam::"+account+":role/team/checkout")
	if id := *created.Role.RoleId; !strings.HasPrefix(id, "AROA") || len(id) != 21 {
		t.Errorf("got role ID %q", id)
	}
	_, err = client.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("CheckOut"), AssumeRolePolicyDocument: aws.String(trust)})
	expectError(t, err, "EntityAlreadyExists", 409, "Role with name CheckOut already exists.")
	expectType[*types.EntityAlreadyExistsException](t, err)

	_, err = client.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name, MaxSessionDuration: aws.Int32(43200)})
	expectNone(t, err)
	long, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	expectNone(t, err)
	if *long.Role.MaxSessionDuration != 43200 || *long.Role.Description != "for <checkout> & co" {
		t.Errorf("got role %+v", long.Role)
	}
	_, err = client.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name, Description: aws.String("new text")})
	expectNone(t, err)
	_, err = client.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: tagsOf("stage", "test")})
	expectNone(t, err)
	_, err = client.UntagRole(ctx, &iam.UntagRoleInput{RoleName: name, TagKeys: []string{"owner"}})
	expectNone(t, err)
	_, err = client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(trust + " ")})
	expectNone(t, err)

	got, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	expectNone(t, err)
	expectText(t, "trust policy", decoded(t, got.Role.AssumeRolePolicyDocument), trust+" ")
	expectText(t, "description", *got.Role.Description, "new text")
	expectText(t, "tags", plain(got.Role.Tags), "stage=test")
	expectText(t, "boundary", *got.Role.PermissionsBoundary.PermissionsBoundaryArn, readOnly)
	if *got.Role.MaxSessionDuration != 3600 || !got.Role.CreateDate.Equal(d.clock.Now()) {
		t.Errorf("got role %+v", got.Role)
	}
	tags, err := client.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name})
	expectNone(t, err)
	expectText(t, "listed tags", plain(tags.Tags), "stage=test")

	_, err = client.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name})
	expectNone(t, err)
	_, err = client.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: name})
	expectType[*types.NoSuchEntityException](t, err)
	_, err = client.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: name, PermissionsBoundary: aws.String(own)})
	expectNone(t, err)
	profiles, err := client.ListInstanceProfilesForRole(ctx, &iam.ListInstanceProfilesForRoleInput{RoleName: name})
	expectNone(t, err)
	if len(profiles.InstanceProfiles) != 0 || profiles.IsTruncated {
		t.Errorf("got instance profiles %+v", profiles)
	}

	checkPolicies(t, client)

	_, err = client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	expectNone(t, err)
	_, err = client.GetRole(ctx, &iam.GetRoleInput{RoleName: name})
	expectError(t, err, "NoSuchEntity", 404, "The role with name checkout cannot be found.")
	expectType[*types.NoSuchEntityException](t, err)
}

// checkPolicies adds attached and inline policies to the role, checks that it cannot be deleted
// with them, and removes them.
func checkPolicies(t *testing.T, client *iam.Client) {
	t.Helper()
	ctx, name := t.Context(), aws.String("checkout")
	for _, arn := range []string{readOnly, readOnly, service, own} {
		_, err := client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(arn)})
		expectNone(t, err)
	}
	unknown := "arn:aws:iam::" + account + ":policy/unknown"
	_, err := client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(unknown)})
	expectError(t, err, "NoSuchEntity", 404, "Policy "+unknown+" does not exist or is not attachable.")
	attached, err := client.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name})
	expectNone(t, err)
	var names []string
	for _, policy := range attached.AttachedPolicies {
		names = append(names, *policy.PolicyName+" "+*policy.PolicyArn)
	}
	expectText(t, "attached", strings.Join(names, ", "), "own "+own+", ReadOnlyAccess "+readOnly+", AmazonEBSCSIDriverPolicy "+service)
	attached, err = client.ListAttachedRolePolicies(ctx, &iam.ListAttachedRolePoliciesInput{RoleName: name, PathPrefix: aws.String("/service-role/")})
	expectNone(t, err)
	if len(attached.AttachedPolicies) != 1 {
		t.Errorf("got policies under the path %+v, want one", attached.AttachedPolicies)
	}
	policy, err := client.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String(service)})
	expectNone(t, err)
	if *policy.Policy.PolicyName != "AmazonEBSCSIDriverPolicy" || *policy.Policy.Path != "/service-role/" || *policy.Policy.AttachmentCount != 1 {
		t.Errorf("got policy %+v", policy.Policy)
	}
	_, err = client.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String(unknown)})
	expectType[*types.NoSuchEntityException](t, err)

	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("inline"), PolicyDocument: aws.String(allowance)})
	expectNone(t, err)
	inline, err := client.GetRolePolicy(ctx, &iam.GetRolePolicyInput{RoleName: name, PolicyName: aws.String("inline")})
	expectNone(t, err)
	expectText(t, "inline policy", decoded(t, inline.PolicyDocument), allowance)
	listed, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name})
	expectNone(t, err)
	expectText(t, "inline policies", strings.Join(listed.PolicyNames, " "), "inline")

	_, err = client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	expectError(t, err, "DeleteConflict", 409, "Cannot delete entity, must detach all policies first.")
	expectType[*types.DeleteConflictException](t, err)
	for _, arn := range []string{readOnly, service, own} {
		_, err := client.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(arn)})
		expectNone(t, err)
	}
	_, err = client.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: name, PolicyArn: aws.String(own)})
	expectError(t, err, "NoSuchEntity", 404, "Policy "+own+" was not found.")
	_, err = client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name})
	expectError(t, err, "DeleteConflict", 409, "Cannot delete entity, must delete policies first.")
	_, err = client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("inline")})
	expectNone(t, err)
	_, err = client.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: name, PolicyName: aws.String("inline")})
	expectError(t, err, "NoSuchEntity", 404, "The role policy with name inline cannot be found.")
}

func TestCreateRole_invalid(t *testing.T) {
	d := newTestServer(t, nil)
	role := func(change func(*iam.CreateRoleInput)) *iam.CreateRoleInput {
		in := &iam.CreateRoleInput{RoleName: aws.String("checkout"), AssumeRolePolicyDocument: aws.String(trust)}
		change(in)
		return in
	}
	for name, test := range map[string]struct {
		in      *iam.CreateRoleInput
		status  int
		code    string
		message string
	}{
		"name with invalid characters": {
			role(func(in *iam.CreateRoleInput) { in.RoleName = aws.String("a/b") }), 400, "ValidationError",
			"The specified value for roleName is invalid. It must contain only alphanumeric characters and/or the following: +=,.@_-",
		},
		"name too long": {
			role(func(in *iam.CreateRoleInput) { in.RoleName = aws.String(strings.Repeat("a", 65)) }), 400, "ValidationError",
			"1 validation error detected: Value '" + strings.Repeat("a", 65) + "' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64",
		},
		"path without a trailing slash": {
			role(func(in *iam.CreateRoleInput) { in.Path = aws.String("/team") }), 400, "ValidationError",
			"The specified value for path is invalid. It must begin and end with / and contain only alphanumeric characters and/or / characters.",
		},
		"trust policy is not JSON": {
			role(func(in *iam.CreateRoleInput) { in.AssumeRolePolicyDocument = aws.String("{") }), 400, "MalformedPolicyDocument",
			"This policy contains invalid Json",
		},
		"trust policy for other actions": {
			role(func(in *iam.CreateRoleInput) {
				in.AssumeRolePolicyDocument = aws.String(strings.ReplaceAll(trust, "sts:AssumeRoleWithWebIdentity", "s3:GetObject"))
			}),
			400, "MalformedPolicyDocument", "AssumeRole policy may only specify STS AssumeRole actions.",
		},
		"trust policy too large": {role(func(in *iam.CreateRoleInput) {
			in.AssumeRolePolicyDocument = aws.String(strings.Replace(trust, "2012-10-17", `2012-10-17", "Id": "`+strings.Repeat("x", 2000), 1))
		}), 409, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048"},
		"maximum session duration too short": {
			role(func(in *iam.CreateRoleInput) { in.MaxSessionDuration = aws.Int32(900) }), 400, "ValidationError",
			"1 validation error detected: Value '900' at 'maxSessionDuration' failed to satisfy constraint: Member must have value greater than or equal to 3600",
		},
		"permissions boundary does not exist": {
			role(func(in *iam.CreateRoleInput) { in.PermissionsBoundary = aws.String(own) }), 404, "NoSuchEntity",
			"Scope ARN: " + own + " does not exist or is not attachable.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.iam().CreateRole(t.Context(), test.in)
			expectError(t, err, test.code, test.status, test.message)
		})
	}
	_, err := d.iam().GetRole(t.Context(), &iam.GetRoleInput{RoleName: aws.String("checkout")})
	expectType[*types.NoSuchEntityException](t, err)
}

func TestRole_quotas(t *testing.T) {
	d := newTestServer(t, nil)
	d.createRole(t, "checkout", trust)
	client, ctx, name := d.iam(), t.Context(), aws.String("checkout")
	for i := range 10 {
		_, err := client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(fmt.Sprintf("%s%d", readOnly, i))})
		expectNone(t, err)
	}
	_, err := client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(readOnly)})
	expectError(t, err, "LimitExceeded", 409, "Cannot exceed quota for PoliciesPerRole: 10")
	expectType[*types.LimitExceededException](t, err)

	large := strings.Replace(allowance, "2012-10-17", `2012-10-17", "Id": "`+strings.Repeat("x", 9000), 1)
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("one"), PolicyDocument: aws.String(large)})
	expectNone(t, err)
	_, err = client.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: name, PolicyName: aws.String("two"), PolicyDocument: aws.String(large)})
	expectError(t, err, "LimitExceeded", 409, "Maximum policy size of 10240 bytes exceeded for role checkout")

	var tags []types.Tag
	for i := range 50 {
		tags = append(tags, tagsOf(fmt.Sprintf("key-%d", i), "x")...)
	}
	_, err = client.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: tags})
	expectNone(t, err)
	_, err = client.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: tagsOf("one-more", "x")})
	expectType[*types.LimitExceededException](t, err)
}

func TestListRoles_pagination(t *testing.T) {
	d := newTestServer(t, nil)
	client, ctx := d.iam(), t.Context()
	for i := range 7 {
		path := "/"
		if i%2 == 1 {
			path = "/odd/"
		}
		_, err := client.CreateRole(ctx, &iam.CreateRoleInput{
			RoleName: aws.String(fmt.Sprintf("role-%d", i)), Path: aws.String(path), AssumeRolePolicyDocument: aws.String(trust), Tags: tagsOf("a", "b"),
		})
		expectNone(t, err)
	}
	list := func(in iam.ListRolesInput) string {
		var names []string
		pages := iam.NewListRolesPaginator(client, &in)
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			expectNone(t, err)
			for _, role := range page.Roles {
				names = append(names, *role.RoleName)
				if role.Tags != nil {
					t.Errorf("role %s has tags in a list", *role.RoleName)
				}
			}
			names = append(names, "|")
		}
		return strings.Join(names, " ")
	}
	expectText(t, "pages of 3", list(iam.ListRolesInput{MaxItems: aws.Int32(3)}), "role-0 role-1 role-2 | role-3 role-4 role-5 | role-6 |")
	expectText(t, "pages of 7", list(iam.ListRolesInput{MaxItems: aws.Int32(7)}), "role-0 role-1 role-2 role-3 role-4 role-5 role-6 |")
	expectText(t, "a path", list(iam.ListRolesInput{PathPrefix: aws.String("/odd/"), MaxItems: aws.Int32(2)}), "role-1 role-3 | role-5 |")

	first, err := client.ListRoles(ctx, &iam.ListRolesInput{MaxItems: aws.Int32(3)})
	expectNone(t, err)
	_, err = client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("role-2")})
	expectNone(t, err)
	rest, err := client.ListRoles(ctx, &iam.ListRolesInput{Marker: first.Marker})
	expectNone(t, err)
	if len(rest.Roles) != 4 {
		t.Errorf("got %d roles on the second page, want 4", len(rest.Roles))
	}
	_, err = client.ListRoles(ctx, &iam.ListRolesInput{Marker: aws.String("?")})
	expectError(t, err, "ValidationError", 400, "Invalid Marker.")
	_, err = client.ListRoles(ctx, &iam.ListRolesInput{MaxItems: aws.Int32(1001)})
	expectError(t, err, "ValidationError", 400, "1 validation error detected: ...")
}

func TestRole_notFound(t *testing.T) {
	d := newTestServer(t, nil)
	client, ctx, name := d.iam(), t.Context(), aws.String("missing")
	for operation, call := range map[string]func() error{
		"GetRole":    func() error { _, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: name}); return err },
		"DeleteRole": func() error { _, err := client.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: name}); return err },
		"UpdateRole": func() error { _, err := client.UpdateRole(ctx, &iam.UpdateRoleInput{RoleName: name}); return err },
		"TagRole": func() error {
			_, err := client.TagRole(ctx, &iam.TagRoleInput{RoleName: name, Tags: tagsOf("a", "b")})
			return err
		},
		"ListRoleTags": func() error { _, err := client.ListRoleTags(ctx, &iam.ListRoleTagsInput{RoleName: name}); return err },
		"ListRolePolicies": func() error {
			_, err := client.ListRolePolicies(ctx, &iam.ListRolePoliciesInput{RoleName: name})
			return err
		},
		"AttachRolePolicy": func() error {
			_, err := client.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: name, PolicyArn: aws.String(readOnly)})
			return err
		},
		"UpdateAssumeRolePolicy": func() error {
			_, err := client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: name, PolicyDocument: aws.String(trust)})
			return err
		},
	} {
		t.Run(operation, func(t *testing.T) {
			err := call()
			expectError(t, err, "NoSuchEntity", 404, "The role with name missing cannot be found.")
			expectType[*types.NoSuchEntityException](t, err)
		})
	}
}

// The SDK rejects a missing required list itself, so this test sends the requests without it.
func TestRole_missingRequiredList(t *testing.T) {
	d := newTestServer(t, nil)
	d.createRole(t, "checkout", trust)
	_, err := d.iam().CreateOpenIDConnectProvider(t.Context(), &iam.CreateOpenIDConnectProviderInput{
		Url: aws.String("https://oidc.example.com/id/one"), ThumbprintList: []string{strings.Repeat("a", 40)},
	})
	expectNone(t, err)
	for form, list := range map[string]string{
		"Action=UpdateOpenIDConnectProviderThumbprint&OpenIDConnectProviderArn=" + providerARN: "thumbprintList",
		"Action=TagOpenIDConnectProvider&OpenIDConnectProviderArn=" + providerARN:              "tags",
		"Action=UntagOpenIDConnectProvider&OpenIDConnectProviderArn=" + providerARN:            "tagKeys",
		"Action=TagRole&RoleName=checkout":                                                     "tags",
		"Action=UntagRole&RoleName=checkout":                                                   "tagKeys",
	} {
		form += "&Version=2010-05-08"
		got := d.do(t, signed(t, d.post(t, form), form, "iam", d.clock.Now()))
		want := "1 validation error detected: Value null at '" + list + "' failed to satisfy constraint: Member must not be null"
		if got.Status != 400 || got.Code != "ValidationError" || got.Message != want {
			t.Errorf("%s: got %+v, want %q", form, got, want)
		}
	}
	left, err := d.iam().GetOpenIDConnectProvider(t.Context(), &iam.GetOpenIDConnectProviderInput{OpenIDConnectProviderArn: aws.String(providerARN)})
	expectNone(t, err)
	if len(left.ThumbprintList) != 1 {
		t.Errorf("got thumbprints %q, want one", left.ThumbprintList)
	}
}
