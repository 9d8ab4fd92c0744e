package localsts

import "net/http"

// caller is the identity that signed a call.
type caller struct {
	// arn and id are the ARN and the user ID that GetCallerIdentity returns.
	arn, id string
	// admin reports whether the caller can call IAM. Sessions cannot, because roles have no
	// permissions in this server.
	admin bool
}

// admin returns the administrator of the account.
func (s *Server) admin(a *account) caller {
	return caller{arn: "arn:" + partition + ":iam::" + a.ID + ":user/local-sts-admin", id: adminID, admin: true}
}

// caller returns the identity of the session.
func (s session) caller(a *account) caller {
	return caller{arn: a.assumedRoleARN(s.RoleName, s.Name), id: s.RoleID + ":" + s.Name}
}

// assumedRoleARN returns the ARN of a session. It does not contain the path of the role
// (IAM User Guide, reference_identifiers).
func (a *account) assumedRoleARN(roleName, sessionName string) string {
	return "arn:" + partition + ":sts::" + a.ID + ":assumed-role/" + roleName + "/" + sessionName
}

// accessDenied returns IAM's error for a caller without permission (IAM User Guide,
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

// getCallerIdentity returns the identity of the caller. It requires no permission (STS API
// reference, GetCallerIdentity).
func (s *Server) getCallerIdentity(c *call) (any, error) {
	return callerIdentity{c.caller.arn, c.caller.id, s.store.view().ID}, nil
}
