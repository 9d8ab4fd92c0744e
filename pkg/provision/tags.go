package provision

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
)

// The tags of what is made here. They say for whom it was made, and that it may
// be changed and deleted here.
const (
	tagPrefix         = "kubectl-irsa/"
	tagIssuer         = tagPrefix + "issuer"
	tagNamespace      = tagPrefix + "namespace"
	tagServiceAccount = tagPrefix + "serviceaccount"
)

// checkTags returns an error if the tags that a user wants cannot be.
func checkTags(tags map[string]string) error {
	for key := range tags {
		// IAM takes keys that differ in capitals alone for one
		// (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html): such a tag
		// would be put in the place of ours.
		if strings.HasPrefix(strings.ToLower(key), tagPrefix) {
			return fmt.Errorf("tag %s: tags that begin with %s are kept for what this command itself has to know", key, tagPrefix)
		}
	}
	return nil
}

// providerTags are those of the provider that is made for this cluster.
func (c *Cluster) providerTags(more map[string]string) map[string]string {
	return with(more, map[string]string{tagIssuer: c.issuerName()})
}

// roleTags are those of a role that is made for a ServiceAccount.
func (c *Cluster) roleTags(namespace, name string, more map[string]string) map[string]string {
	return with(more, map[string]string{tagIssuer: c.issuerName(), tagNamespace: namespace, tagServiceAccount: name})
}

func with(more, own map[string]string) map[string]string {
	all := maps.Clone(own)
	maps.Copy(all, more)
	return all
}

// isManaged says whether something was made here, for this cluster.
func (c *Cluster) isManaged(tags map[string]string) bool {
	return tags[tagIssuer] == c.issuerName()
}

// isManagedFor says whether a role was made here, for this ServiceAccount.
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

// missingTags returns those of want that have lacks, or has otherwise.
func missingTags(have, want map[string]string) map[string]string {
	lacks := map[string]string{}
	for key, value := range want {
		if found, ok := have[key]; !ok || found != value {
			lacks[key] = value
		}
	}
	return lacks
}

func tagDetails(tags map[string]string) []string {
	details := make([]string, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		details = append(details, "tag "+key+"="+tags[key])
	}
	return details
}
