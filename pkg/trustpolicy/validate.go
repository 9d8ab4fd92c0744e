package trustpolicy

import (
	"fmt"
	"regexp"
)

// Messages of IAM for documents that Parse accepts. Parse is lenient because it also reads
// policies that IAM has accepted.
const (
	msgSid       = "Statement IDs (SID) must be alpha-numeric. Check that your input satisfies the regular expression [0-9A-Za-z]*"
	msgFederated = "Federated principals must be valid domain names or SAML metadata ARNs"
)

var (
	sids = regexp.MustCompile(`^[0-9A-Za-z]*$`)
	// samlProviders matches the ARNs of SAML providers.
	samlProviders = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:saml-provider/[\w+=,.@-]+$`)
	// domains matches built-in providers, such as accounts.google.com.
	domains = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z]{2,}$`)
	// awsPrincipals matches "*", accounts, users, roles and sessions. It also matches the
	// IDs that IAM writes for deleted users and roles. See principal, "AWS account
	// principals" and the sections after it.
	awsPrincipals = regexp.MustCompile(`^(\*|\d{12}|A[A-Z]{2}A[A-Z0-9]{12,}|arn:aws[a-z0-9-]*:iam::\d{12}:(root|(user|role)/[\w+=,.@/-]+)` +
		`|arn:aws[a-z0-9-]*:sts::\d{12}:(assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))$`)
	// services matches names of services, some of which have no domain.
	services = regexp.MustCompile(`^(\*|[a-z0-9-]+(\.[a-z0-9-]+)*)$`)
)

// Validate returns a *MalformedError if IAM rejects the policy because of a Sid or the form of
// a principal. It cannot check whether a principal exists.
func (d Document) Validate() error {
	for i, s := range d.statements {
		where := fmt.Sprintf("statement %d", i+1)
		if !sids.MatchString(s.sid) {
			return malformed(msgSid, "%s has the Sid %q", where, s.sid).withHint("use only letters and digits")
		}
		for _, p := range s.principals {
			for _, value := range p.values {
				if err := checkPrincipal(p.kind, value, where); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkPrincipal returns an error for a principal that IAM rejects by its form. For a
// provider, the hint is the ARN with the same issuer.
func checkPrincipal(kind, value, where string) error {
	switch kind {
	case federated:
		if providers.MatchString(value) || samlProviders.MatchString(value) || domains.MatchString(value) {
			return nil
		}
		return malformed(msgFederated, "%s has %s", where, quote(value)).
			withHint("write the ARN of the OIDC provider, such as arn:aws:iam::111122223333:oidc-provider/oidc.example.com")
	case principalAWS:
		if awsPrincipals.MatchString(value) {
			return nil
		}
	case principalService:
		if services.MatchString(value) {
			return nil
		}
	default:
		return nil
	}
	return malformed(fmt.Sprintf("Invalid principal in policy: %q:%q", kind, value), "%s", where)
}
