package localsts

import "net/http"

// caller is who has signed a call.
type caller struct {
	// arn and id are what GetCallerIdentity tells.
	arn, id string
	// admin may call IAM. A session may not: no role has a permission here.
	admin bool
}

func (s *Server) admin(a *account) caller {
	return caller{arn: "arn:" + partition + ":iam::" + a.ID + ":user/local-sts-admin", id: adminID, admin: true}
}

func (s session) caller(a *account) caller {
	return caller{arn: a.assumedRoleARN(s.RoleName, s.Name), id: s.RoleID + ":" + s.Name}
}

// assumedRoleARN has no path (IAM User Guide, reference_identifiers).
func (a *account) assumedRoleARN(roleName, sessionName string) string {
	return "arn:" + partition + ":sts::" + a.ID + ":assumed-role/" + roleName + "/" + sessionName
}

// accessDenied is what IAM says to those without permission (IAM User Guide,
// troubleshoot_access-denied).
func (c caller) accessDenied(action, resource string) error {
	return newAPIError(http.StatusForbidden, "AccessDenied",
		"User: %s is not authorized to perform: %s on resource: %s because no identity-based policy allows the %s action",
		c.arn, action, resource, action)
}

type callerIdentity struct {
	Arn     string
	UserID  string `xml:"UserId"`
	Account string
}

// getCallerIdentity needs no permission (STS API reference, GetCallerIdentity).
func (s *Server) getCallerIdentity(c *call) (any, error) {
	return callerIdentity{c.caller.arn, c.caller.id, s.store.view().ID}, nil
}
