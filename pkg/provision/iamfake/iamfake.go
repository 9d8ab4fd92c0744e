// Package iamfake is as much of IAM, in memory and behind the SDK's client, as
// the tests of plans need. It never speaks HTTP: that real requests and answers
// fit is for local-sts to show.
package iamfake

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
)

// IAM is an account. Fail, if set, is asked before each call and may refuse it.
type IAM struct {
	Account, Partition string
	Fail               func(operation string) error

	mu        sync.Mutex
	providers map[string]*provider
	roles     map[string]*role
	calls     []string
}

type provider struct {
	url                    string
	audiences, thumbprints []string
	tags                   map[string]string
}

type role struct {
	types.Role
	tags             map[string]string
	attached, inline []string
}

// New returns an account without anything.
func New(partition, account string) *IAM {
	return &IAM{Account: account, Partition: partition, providers: map[string]*provider{}, roles: map[string]*role{}}
}

// Client returns an SDK's client of the account.
func (f *IAM) Client() *iam.Client {
	return iam.New(iam.Options{Region: "us-east-1", APIOptions: []func(*middleware.Stack) error{
		func(stack *middleware.Stack) error {
			return stack.Initialize.Add(middleware.InitializeMiddlewareFunc("iamfake", f.handle), middleware.Before)
		},
	}})
}

// Writes returns the names of the operations since the last call that change
// something, in order.
func (f *IAM) Writes() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// PutInlinePolicy puts an inline policy into a role, as somebody else would.
func (f *IAM) PutInlinePolicy(roleName, policyName string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.roles[roleName].inline = append(f.roles[roleName].inline, policyName)
}

// Denied is what IAM says to who may not.
func Denied(operation string) error {
	return &smithy.GenericAPIError{Code: "AccessDenied", Message: "User: arn:aws:iam::111122223333:user/me is not authorized to perform: iam:" + operation}
}

func (f *IAM) handle(ctx context.Context, in middleware.InitializeInput, _ middleware.InitializeHandler) (out middleware.InitializeOutput, _ middleware.Metadata, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	operation := middleware.GetOperationName(ctx)
	if operation == "" {
		operation = strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%T", in.Parameters), "*iam."), "Input")
	}
	if f.Fail != nil {
		if err := f.Fail(operation); err != nil {
			return out, middleware.Metadata{}, err
		}
	}
	if !strings.HasPrefix(operation, "Get") && !strings.HasPrefix(operation, "List") {
		f.calls = append(f.calls, operation)
	}
	if out.Result, err = f.ofProviders(in.Parameters); out.Result == nil && err == nil {
		out.Result, err = f.ofRoles(in.Parameters)
	}
	if out.Result == nil && err == nil {
		err = fmt.Errorf("iamfake does not know %s", operation)
	}
	return out, middleware.Metadata{}, err
}

func (f *IAM) arn(resource string) string {
	return "arn:" + f.Partition + ":iam::" + f.Account + ":" + resource
}

func missing(format string, arguments ...any) error {
	return &types.NoSuchEntityException{Message: aws.String(fmt.Sprintf(format, arguments...))}
}

func (f *IAM) provider(arn *string) (*provider, error) {
	if found := f.providers[*arn]; found != nil {
		return found, nil
	}
	return nil, missing("OpenIDConnect Provider not found for arn %s", *arn)
}

func (f *IAM) ofProviders(parameters any) (any, error) {
	switch in := parameters.(type) {
	case *iam.CreateOpenIDConnectProviderInput:
		name := strings.TrimPrefix(*in.Url, "https://")
		arn := f.arn("oidc-provider/" + name)
		if f.providers[arn] != nil {
			return nil, &types.EntityAlreadyExistsException{Message: aws.String("Provider with url " + *in.Url + " already exists.")}
		}
		f.providers[arn] = &provider{url: name, audiences: in.ClientIDList, thumbprints: in.ThumbprintList, tags: read(in.Tags)}
		return &iam.CreateOpenIDConnectProviderOutput{OpenIDConnectProviderArn: &arn}, nil
	case *iam.GetOpenIDConnectProviderInput:
		found, err := f.provider(in.OpenIDConnectProviderArn)
		if err != nil {
			return nil, err
		}
		return &iam.GetOpenIDConnectProviderOutput{Url: &found.url, ClientIDList: found.audiences, ThumbprintList: found.thumbprints, Tags: written(found.tags)}, nil
	case *iam.ListOpenIDConnectProvidersInput:
		out := &iam.ListOpenIDConnectProvidersOutput{}
		for arn := range f.providers {
			out.OpenIDConnectProviderList = append(out.OpenIDConnectProviderList, types.OpenIDConnectProviderListEntry{Arn: aws.String(arn)})
		}
		return out, nil
	case *iam.AddClientIDToOpenIDConnectProviderInput:
		found, err := f.provider(in.OpenIDConnectProviderArn)
		if err == nil {
			found.audiences = append(found.audiences, *in.ClientID)
		}
		return &iam.AddClientIDToOpenIDConnectProviderOutput{}, err
	case *iam.UpdateOpenIDConnectProviderThumbprintInput:
		found, err := f.provider(in.OpenIDConnectProviderArn)
		if err == nil {
			found.thumbprints = in.ThumbprintList
		}
		return &iam.UpdateOpenIDConnectProviderThumbprintOutput{}, err
	case *iam.TagOpenIDConnectProviderInput:
		found, err := f.provider(in.OpenIDConnectProviderArn)
		if err == nil {
			add(found.tags, in.Tags)
		}
		return &iam.TagOpenIDConnectProviderOutput{}, err
	case *iam.DeleteOpenIDConnectProviderInput:
		delete(f.providers, *in.OpenIDConnectProviderArn)
		return &iam.DeleteOpenIDConnectProviderOutput{}, nil
	}
	return nil, nil
}

func (f *IAM) role(name *string) (*role, error) {
	if found := f.roles[*name]; found != nil {
		return found, nil
	}
	return nil, missing("The role with name %s cannot be found.", *name)
}

func (f *IAM) ofRoles(parameters any) (any, error) {
	switch in := parameters.(type) {
	case *iam.CreateRoleInput:
		return f.createRole(in)
	case *iam.GetRoleInput:
		found, err := f.role(in.RoleName)
		if err != nil {
			return nil, err
		}
		whole := found.Role
		whole.Tags = written(found.tags)
		return &iam.GetRoleOutput{Role: &whole}, nil
	case *iam.ListRolesInput:
		out := &iam.ListRolesOutput{}
		for _, found := range f.roles {
			listed := found.Role
			listed.PermissionsBoundary = nil // as IAM
			out.Roles = append(out.Roles, listed)
		}
		return out, nil
	case *iam.UpdateAssumeRolePolicyInput:
		found, err := f.role(in.RoleName)
		if err == nil {
			found.AssumeRolePolicyDocument = encoded(in.PolicyDocument)
		}
		return &iam.UpdateAssumeRolePolicyOutput{}, err
	case *iam.PutRolePermissionsBoundaryInput:
		found, err := f.role(in.RoleName)
		if err == nil {
			found.PermissionsBoundary = &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: in.PermissionsBoundary}
		}
		return &iam.PutRolePermissionsBoundaryOutput{}, err
	case *iam.TagRoleInput:
		found, err := f.role(in.RoleName)
		if err == nil {
			add(found.tags, in.Tags)
		}
		return &iam.TagRoleOutput{}, err
	case *iam.DeleteRoleInput:
		found, err := f.role(in.RoleName)
		if err == nil && len(found.attached)+len(found.inline) > 0 {
			return nil, &types.DeleteConflictException{Message: aws.String("Cannot delete entity, must detach all policies first.")}
		}
		delete(f.roles, *in.RoleName)
		return &iam.DeleteRoleOutput{}, err
	default:
		return f.ofPolicies(parameters)
	}
}

func (f *IAM) createRole(in *iam.CreateRoleInput) (any, error) {
	if f.roles[*in.RoleName] != nil {
		return nil, &types.EntityAlreadyExistsException{Message: aws.String("Role with name " + *in.RoleName + " already exists.")}
	}
	created := &role{tags: read(in.Tags), Role: types.Role{
		RoleName: in.RoleName, Path: aws.String("/"), Description: in.Description,
		AssumeRolePolicyDocument: encoded(in.AssumeRolePolicyDocument),
	}}
	if in.Path != nil {
		created.Path = in.Path
	}
	created.Arn = aws.String(f.arn("role" + *created.Path + *in.RoleName))
	if in.PermissionsBoundary != nil {
		created.PermissionsBoundary = &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: in.PermissionsBoundary}
	}
	f.roles[*in.RoleName] = created
	return &iam.CreateRoleOutput{Role: &created.Role}, nil
}

func (f *IAM) ofPolicies(parameters any) (any, error) {
	switch in := parameters.(type) {
	case *iam.AttachRolePolicyInput:
		found, err := f.role(in.RoleName)
		if err == nil && !slices.Contains(found.attached, *in.PolicyArn) {
			found.attached = append(found.attached, *in.PolicyArn)
		}
		return &iam.AttachRolePolicyOutput{}, err
	case *iam.DetachRolePolicyInput:
		found, err := f.role(in.RoleName)
		if err == nil {
			found.attached = slices.DeleteFunc(found.attached, func(arn string) bool { return arn == *in.PolicyArn })
		}
		return &iam.DetachRolePolicyOutput{}, err
	case *iam.ListAttachedRolePoliciesInput:
		found, err := f.role(in.RoleName)
		if err != nil {
			return nil, err
		}
		out := &iam.ListAttachedRolePoliciesOutput{}
		for _, arn := range found.attached {
			out.AttachedPolicies = append(out.AttachedPolicies, types.AttachedPolicy{PolicyArn: aws.String(arn)})
		}
		return out, nil
	case *iam.ListRolePoliciesInput:
		found, err := f.role(in.RoleName)
		if err != nil {
			return nil, err
		}
		return &iam.ListRolePoliciesOutput{PolicyNames: found.inline}, nil
	}
	return nil, nil
}

// encoded is a document as IAM returns it.
func encoded(document *string) *string { return aws.String(url.PathEscape(*document)) }

func read(tags []types.Tag) map[string]string {
	all := map[string]string{}
	add(all, tags)
	return all
}

func add(all map[string]string, tags []types.Tag) {
	for _, tag := range tags {
		all[*tag.Key] = *tag.Value
	}
}

func written(tags map[string]string) []types.Tag {
	var all []types.Tag
	for key, value := range tags {
		all = append(all, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	return all
}
