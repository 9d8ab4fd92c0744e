package identity

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// roleARN is what IAM accepts as the ARN of a role, in any partition
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html).
var roleARN = regexp.MustCompile(`^arn:aws[a-z0-9-]*:iam::\d{12}:role/[\w/.@+=,-]*[\w.@+=,-]$`)

// IsRoleARN says whether s can be the ARN of a role in AWS.
func IsRoleARN(s string) bool { return roleARN.MatchString(s) }

// sessionName is what STS accepts as a role session name
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
var sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// IsSessionName says whether STS accepts s as a role session name.
func IsSessionName(s string) bool { return sessionName.MatchString(s) }

// hostName is a name of letters, digits, hyphens and dots. Underscores are in the
// names of some containers.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// IsEndpoint says whether s is a URL under which an SDK can reach a service.
func IsEndpoint(s string) bool {
	parsed, err := url.Parse(s)
	if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" ||
		parsed.User != nil || parsed.RawQuery != "" || parsed.Fragment != "" {
		return false
	}
	if port := parsed.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return false
		}
	}
	host := parsed.Hostname()
	_, err = netip.ParseAddr(host)
	return err == nil || hostName.MatchString(host)
}

// Account is the AWS account that bare role names belong to.
type Account struct {
	// Partition is "aws", "aws-cn" and so on; ID has 12 digits.
	Partition, ID string
}

var (
	partition = regexp.MustCompile(`^aws(-[a-z]+)*$`)
	accountID = regexp.MustCompile(`^\d{12}$`)
)

// Validate returns an error if there can be no such account.
func (a *Account) Validate() error {
	if !partition.MatchString(a.Partition) {
		return fmt.Errorf("%q is no partition, as aws or aws-cn is", a.Partition)
	}
	if !accountID.MatchString(a.ID) {
		return fmt.Errorf("%q is no account id of 12 digits, such as 111122223333", a.ID)
	}
	return nil
}

// compose returns the ARN of a role that is given by its name, or by its path
// and name. What holds "arn:" is an ARN already, as it is for AWS's webhook.
func (a *Account) compose(role string) string {
	if a == nil || role == "" || strings.Contains(role, "arn:") {
		return role
	}
	return "arn:" + a.Partition + ":iam::" + a.ID + ":role/" + strings.TrimPrefix(role, "/")
}
