package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

const (
	// maxRoleNameLength is IAM's limit in characters
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
	maxRoleNameLength = 64
	// hashDigits is the number of hash digits in a shortened name. They distinguish
	// names with the same beginning.
	hashDigits = 8
)

// RoleName returns the default name of a role: cluster, namespace and ServiceAccount,
// joined with dots. A namespace has no dots, and those of the cluster's name are replaced,
// so two ServiceAccounts never share a name. A name that is too long for IAM is cut and
// ends with a hash of the full name.
func RoleName(cluster, namespace, serviceAccount string) string {
	name := strings.Join([]string{sanitize(cluster), namespace, serviceAccount}, ".")
	if len(name) <= maxRoleNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "-" + hex.EncodeToString(sum[:])[:hashDigits]
	return name[:maxRoleNameLength-len(hash)] + hash
}

// invalidChars matches characters that a part of a role's name must not have.
var invalidChars = regexp.MustCompile(`[^A-Za-z0-9_+=,@-]+`)

func sanitize(part string) string { return invalidChars.ReplaceAllString(part, "-") }

var (
	roleNames = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	// rolePaths matches valid values of CreateRole's parameter Path
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html).
	rolePaths = regexp.MustCompile(`^/([\x21-\x7e]+/)?$`)
)

func checkRoleName(name string) error {
	if !roleNames.MatchString(name) {
		return fmt.Errorf("--role-name %q: must have 1 to 64 letters, digits and characters of _+=,.@-", name)
	}
	return nil
}

func checkPath(path string) error {
	const maxLength = 512
	if !rolePaths.MatchString(path) || len(path) > maxLength {
		return fmt.Errorf("--path %q: must begin and end with a slash, such as /team/, and have at most %d characters", path, maxLength)
	}
	return nil
}
