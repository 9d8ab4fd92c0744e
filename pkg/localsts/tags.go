package localsts

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxTags is the maximum number of tags of a resource (IAM User Guide, reference_iam-quotas).
const maxTags = 50

type tag struct {
	Key   string
	Value string
}

type tagsResult struct {
	Tags        list[tag]
	IsTruncated bool
	Marker      string `xml:",omitempty"`
}

// tags returns the tags in a call. It returns an error if two keys are equal when case is
// ignored (IAM User Guide, id_tags, "Rules for tagging").
func (p *parameters) tags() (map[string]string, error) {
	given := map[string]string{}
	folded := map[string]bool{}
	for i := 1; ; i++ {
		key := fmt.Sprintf("Tags.member.%d.Key", i)
		if !p.values.Has(key) {
			break
		}
		if i > maxTags {
			p.fail("Value at 'tags'", fmt.Sprintf("Member must have length less than or equal to %d", maxTags))
			break
		}
		name, value := p.values.Get(key), p.values.Get(fmt.Sprintf("Tags.member.%d.Value", i))
		p.check(fmt.Sprintf("tags.%d.member.key", i), name, tagKeyRule())
		p.check(fmt.Sprintf("tags.%d.member.value", i), value, tagValueRule())
		if folded[strings.ToLower(name)] {
			return nil, invalidInput("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
		}
		folded[strings.ToLower(name)] = true
		given[name] = value
	}
	return given, nil
}

// newTags returns the tags in a call that requires the parameter Tags.
func (p *parameters) newTags() (map[string]string, error) {
	p.requireList("Tags")
	return p.tags()
}

// tagKeys returns the required list TagKeys.
func (p *parameters) tagKeys() []string {
	p.requireList("TagKeys")
	return p.texts("TagKeys", maxTags, tagKeyRule())
}

// addTags returns the tags in to with those in given added or replaced. According to TagRole,
// "If a tag with the same key name already exists, then that tag is overwritten". It returns
// an error if the result has more than maxTags tags.
func addTags(to, given map[string]string) (map[string]string, error) {
	all := maps.Clone(to)
	if all == nil {
		all = map[string]string{}
	}
	for key, value := range given {
		maps.DeleteFunc(all, func(old, _ string) bool { return strings.EqualFold(old, key) })
		all[key] = value
	}
	if len(all) > maxTags {
		return nil, limitExceeded("TagsPerResource", maxTags)
	}
	return all, nil
}

// removeTags deletes the tags with these keys. It ignores the case of the keys.
func removeTags(from map[string]string, keys []string) {
	maps.DeleteFunc(from, func(key, _ string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) })
	})
}

// sortedTags returns the tags sorted by key.
func sortedTags(tags map[string]string) []tag {
	sorted := make([]tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		sorted = append(sorted, tag{key, tags[key]})
	}
	return sorted
}
