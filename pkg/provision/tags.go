package provision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// The tags of providers and roles that kubectl irsa creates. They name the cluster and the
// ServiceAccount. kubectl irsa changes and deletes only objects with these tags, unless
// forced.
const (
	tagPrefix         = "kubectl-irsa/"
	tagIssuer         = tagPrefix + "issuer"
	tagNamespace      = tagPrefix + "namespace"
	tagServiceAccount = tagPrefix + "serviceaccount"
)

// checkTags returns an error if a tag of the user has the reserved prefix.
func checkTags(tags map[string]string) error {
	for key := range tags {
		// Keys are case-insensitive in IAM
		// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html), so a tag of
		// the user with other case would replace the reserved tag.
		if strings.HasPrefix(strings.ToLower(key), tagPrefix) {
			return fmt.Errorf("tag %s: tags that begin with %s are reserved for kubectl irsa", key, tagPrefix)
		}
	}
	return nil
}

// providerTags returns the tags of a new provider of this cluster.
func (c *Cluster) providerTags(userTags map[string]string) map[string]string {
	return withTags(userTags, map[string]string{tagIssuer: c.issuerName()})
}

// roleTags returns the tags of a new role for a ServiceAccount.
func (c *Cluster) roleTags(namespace, name string, userTags map[string]string) map[string]string {
	return withTags(userTags, map[string]string{tagIssuer: c.issuerName(), tagNamespace: namespace, tagServiceAccount: name})
}

func withTags(userTags, reserved map[string]string) map[string]string {
	all := maps.Clone(reserved)
	maps.Copy(all, userTags)
	return all
}

// isManaged reports whether kubectl irsa created the object with these tags for this
// cluster.
func (c *Cluster) isManaged(tags map[string]string) bool {
	return tags[tagIssuer] == c.issuerName()
}

// isManagedFor reports whether kubectl irsa created the role with these tags for this
// ServiceAccount.
func (c *Cluster) isManagedFor(tags map[string]string, namespace, name string) bool {
	return c.isManaged(tags) && tags[tagNamespace] == namespace && tags[tagServiceAccount] == name
}

func fromIAM(tags []types.Tag) map[string]string {
	read := make(map[string]string, len(tags))
	for _, tag := range tags {
		read[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return read
}

func toIAM(tags map[string]string) []types.Tag {
	written := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		written = append(written, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return written
}

// missingTags returns the tags of want that are missing in have or have another value.
func missingTags(have, want map[string]string) map[string]string {
	missing := map[string]string{}
	for key, value := range want {
		if found, ok := have[key]; !ok || found != value {
			missing[key] = value
		}
	}
	return missing
}

func tagDetails(tags map[string]string) []string {
	details := make([]string, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		details = append(details, "tag "+key+"="+tags[key])
	}
	return details
}
