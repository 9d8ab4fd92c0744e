package localsts

// operation is an operation of one of the two APIs.
type operation struct {
	// signed reports whether the call must be signed. It is false only for
	// AssumeRoleWithWebIdentity, which requires a token and no credentials (STS API
	// reference).
	signed bool
	// admin reports whether only the administrator can call the operation.
	admin bool
	run   func(*Server, *call) (any, error)
}

// iam returns an operation of IAM: signed, and only for the administrator.
func iam(run func(*Server, *call) (any, error)) operation {
	return operation{signed: true, admin: true, run: run}
}

// operations is indexed by service and action.
var operations = map[string]operation{
	"sts:AssumeRoleWithWebIdentity": {run: (*Server).assumeRoleWithWebIdentity},
	"sts:GetCallerIdentity":         {signed: true, run: (*Server).getCallerIdentity},

	"iam:CreateOpenIDConnectProvider":             iam((*Server).createProvider),
	"iam:GetOpenIDConnectProvider":                iam((*Server).getProvider),
	"iam:ListOpenIDConnectProviders":              iam((*Server).listProviders),
	"iam:DeleteOpenIDConnectProvider":             iam((*Server).deleteProvider),
	"iam:AddClientIDToOpenIDConnectProvider":      iam((*Server).addClientID),
	"iam:RemoveClientIDFromOpenIDConnectProvider": iam((*Server).removeClientID),
	"iam:UpdateOpenIDConnectProviderThumbprint":   iam((*Server).updateThumbprint),
	"iam:TagOpenIDConnectProvider":                iam((*Server).tagProvider),
	"iam:UntagOpenIDConnectProvider":              iam((*Server).untagProvider),
	"iam:ListOpenIDConnectProviderTags":           iam((*Server).listProviderTags),

	"iam:CreateRole":             iam((*Server).createRole),
	"iam:GetRole":                iam((*Server).getRole),
	"iam:ListRoles":              iam((*Server).listRoles),
	"iam:UpdateRole":             iam((*Server).updateRole),
	"iam:UpdateAssumeRolePolicy": iam((*Server).updateAssumeRolePolicy),
	"iam:DeleteRole":             iam((*Server).deleteRole),
	"iam:TagRole":                iam((*Server).tagRole),
	"iam:UntagRole":              iam((*Server).untagRole),
	"iam:ListRoleTags":           iam((*Server).listRoleTags),

	"iam:PutRolePermissionsBoundary":    iam((*Server).putBoundary),
	"iam:DeleteRolePermissionsBoundary": iam((*Server).deleteBoundary),
	"iam:ListInstanceProfilesForRole":   iam((*Server).listInstanceProfiles),

	"iam:AttachRolePolicy":         iam((*Server).attachPolicy),
	"iam:DetachRolePolicy":         iam((*Server).detachPolicy),
	"iam:ListAttachedRolePolicies": iam((*Server).listAttachedPolicies),
	"iam:PutRolePolicy":            iam((*Server).putInlinePolicy),
	"iam:GetRolePolicy":            iam((*Server).getInlinePolicy),
	"iam:ListRolePolicies":         iam((*Server).listInlinePolicies),
	"iam:DeleteRolePolicy":         iam((*Server).deleteInlinePolicy),
	"iam:GetPolicy":                iam((*Server).getPolicy),
}
