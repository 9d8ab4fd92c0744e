package localsts

import "regexp"

// The patterns of parameters in the API references. Their \w matches ASCII only, as in Go.
var (
	namePattern    = regexp.MustCompile(`^[\w+=,.@-]+$`)
	sessionPattern = regexp.MustCompile(`^[\w+=,.@-]*$`)
	pathPattern    = regexp.MustCompile(`^(/|/[!-~]+/)$`)
	tagKeyPattern  = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]+$`)
	tagPattern     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	policyPattern  = regexp.MustCompile(`^[\t\n\r -\x{FF}]+$`)
	hexPattern     = regexp.MustCompile(`^[0-9A-Fa-f]{40}$`)
)

// nameConstraint is the message of IAM for a name with other characters.
const nameConstraint = "It must contain only alphanumeric characters and/or the following: +=,.@_-"

// nameRule returns the rule for a name of at most limit characters.
func nameRule(limit int) rule {
	return rule{required: true, min: 1, max: limit, pattern: namePattern, shown: `[\w+=,.@-]+`, constraint: nameConstraint}
}

func roleNameRule() rule   { return nameRule(64) }
func policyNameRule() rule { return nameRule(128) }

func arnRule() rule { return rule{required: true, min: 20, max: 2048} }

func policyRule() rule {
	return rule{required: true, min: 1, max: 131072, pattern: policyPattern, shown: `[\u0009\u000A\u000D\u0020-\u00FF]+`}
}

func pathRule() rule {
	return rule{
		min: 1, max: 512, pattern: pathPattern,
		shown:      `(\u002F)|(\u002F[\u0021-\u007E]+\u002F)`,
		constraint: "It must begin and end with / and contain only alphanumeric characters and/or / characters.",
	}
}

func tagKeyRule() rule {
	return rule{required: true, min: 1, max: 128, pattern: tagKeyPattern, shown: `[\p{L}\p{Z}\p{N}_.:/=+\-@]+`}
}

func tagValueRule() rule {
	return rule{max: 256, pattern: tagPattern, shown: `[\p{L}\p{Z}\p{N}_.:/=+\-@]*`}
}
