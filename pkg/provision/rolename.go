package provision

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
)

const (
	// maxRoleNameLength is IAM's limit
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html).
	maxRoleNameLength = 64
	// hashDigits tell two names apart whose beginnings are the same.
	hashDigits = 8
)

// RoleName is the name of a role that is given none: cluster, namespace and
// ServiceAccount with dots between them. A namespace has no dot, and the
// cluster's name is given none, so no two ServiceAccounts share a name. One that
// is too long for IAM is cut, and ends with a hash of the whole.
func RoleName(cluster, namespace, serviceAccount string) string {
	name := strings.Join([]string{sanitize(cluster), namespace, serviceAccount}, ".")
	if len(name) <= maxRoleNameLength {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := "-" + hex.EncodeToString(sum[:])[:hashDigits]
	return name[:maxRoleNameLength-len(hash)] + hash
}

// invalidChars are those that the part of a role's name may not have.
var invalidChars = regexp.MustCompile(`[^A-Za-z0-9_+=,@-]+`)

func sanitize(part string) string { return invalidChars.ReplaceAllString(part, "-") }

var (
	roleNames = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	// rolePaths are those of CreateRole's parameter Path
	// (https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html).
	rolePaths = regexp.MustCompile(`^/([\x21-\x7e]+/)?$`)
)

func checkRoleName(name string) error {
	if !roleNames.MatchString(name) {
		return fmt.Errorf("--role-name %q: IAM permits 1 to 64 letters, digits and _+=,.@-", name)
	}
	return nil
}

func checkPath(path string) error {
	const longest = 512
	if !rolePaths.MatchString(path) || len(path) > longest {
		return fmt.Errorf("--path %q: IAM wants it to begin and end with a slash, such as /team/", path)
	}
	return nil
}
