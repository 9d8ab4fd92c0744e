package trustpolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Parse reads a trust policy. Names of elements are case-sensitive, an element
// may be there once, and none may be there that the grammar does not have
// (grammar, "Policy grammar notes"). A fault is a *MalformedError.
func Parse(document []byte) (Document, error) {
	value, err := readJSON(document)
	if err != nil {
		return Document{}, malformed(msgInvalidJSON, "%v", err)
	}
	top, ok := value.(object)
	if !ok {
		return Document{}, malformed(msgSyntax, "it is no JSON object")
	}
	if fault := known(top, "the policy", "Version", "Id", "Statement"); fault != nil {
		return Document{}, fault
	}
	read := Document{}
	if read.version, err = text(top, "Version"); err != nil {
		return Document{}, err
	}
	if _, has := top.get("Version"); has && read.version != version2008 && read.version != version2012 {
		return Document{}, malformed(msgVersion, "Version is %q", read.version).
			withHint("write " + version2012)
	}
	if read.id, err = text(top, "Id"); err != nil {
		return Document{}, err
	}
	if read.statements, err = parseStatements(top); err != nil {
		return Document{}, err
	}
	return read, nil
}

func parseStatements(top object) ([]statement, error) {
	value, _ := top.get("Statement")
	list, ok := value.([]any)
	if !ok {
		list = []any{value} // one may stand without brackets
	}
	if value == nil || len(list) == 0 {
		return nil, malformed(msgNoStatement, "the policy has no statement")
	}
	statements := make([]statement, 0, len(list))
	sids := map[string]bool{}
	for i, value := range list {
		members, ok := value.(object)
		if !ok {
			return nil, malformed(msgSyntax, "statement %d is no JSON object", i+1)
		}
		read, err := parseStatement(members, fmt.Sprintf("statement %d", i+1))
		if err != nil {
			return nil, err
		}
		if read.sid != "" && sids[read.sid] {
			return nil, malformed(msgDuplicateSid, "%q is there twice", read.sid)
		}
		sids[read.sid] = true
		statements = append(statements, read)
	}
	return statements, nil
}

func parseStatement(members object, where string) (statement, error) {
	if err := elements(members, where); err != nil {
		return statement{}, err
	}
	read := statement{}
	var err error
	if read.sid, err = text(members, "Sid"); err != nil {
		return statement{}, err
	}
	if read.effect, err = parseEffect(members, where); err != nil {
		return statement{}, err
	}
	if err := parsePrincipals(&read, members, where); err != nil {
		return statement{}, err
	}
	if err := parseActions(&read, members, where); err != nil {
		return statement{}, err
	}
	if read.conditions, err = parseConditions(members, where); err != nil {
		return statement{}, err
	}
	return read, nil
}

// elements finds what a statement of a trust policy may not have. It may have no
// NotPrincipal since its documents say so (reference_policies_elements_notprincipal,
// "Key points"), and no resource: the role is the resource.
func elements(members object, where string) error {
	if fault := known(members, where, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction",
		"Resource", "NotResource", "Condition"); fault != nil {
		return fault
	}
	has := func(name string) bool { _, ok := members.get(name); return ok }
	effect, _ := members.get("Effect")
	switch {
	case has("NotPrincipal") && effect == effectAllow:
		return malformed(saysAllowNot, "%s", where)
	case has("NotPrincipal"):
		return malformed(saysNotPrincipal, "%s", where)
	case has("Resource"):
		return malformed(msgResource, "%s", where).withHint("remove it: the resource of a trust policy is its role")
	case has("NotResource"):
		return malformed(saysNotResource, "%s", where).withHint("remove it: the resource of a trust policy is its role")
	case has("Action") && has("NotAction"):
		return malformed(msgSyntax, "%s has both Action and NotAction", where)
	default:
		return nil
	}
}

func parseEffect(members object, where string) (string, error) {
	value, ok := members.get("Effect")
	if !ok {
		return "", malformed(msgNoEffect, "%s", where)
	}
	switch effect, _ := value.(string); {
	case effect == effectAllow, effect == effectDeny:
		return effect, nil
	case strings.EqualFold(effect, effectAllow), strings.EqualFold(effect, effectDeny):
		return "", malformed("Invalid effect: "+effect, "%s", where).
			withHint("it is case-sensitive: Allow or Deny")
	default:
		return "", malformed(fmt.Sprintf("Invalid effect: %v", formatElement(value)), "%s has neither Allow nor Deny", where)
	}
}

func parsePrincipals(into *statement, members object, where string) error {
	value, ok := members.get("Principal")
	if !ok {
		return malformed(msgNoPrincipal, "%s", where)
	}
	if value == "*" {
		into.everyone = true
		return nil
	}
	entries, ok := value.(object)
	if !ok {
		return malformed(msgSyntax, "the Principal of %s is no JSON object", where).
			withHint(`write {"Federated": "ARN of the OIDC provider"}`)
	}
	if len(entries) == 0 {
		return malformed(saysEmptyPrincipal, "%s", where)
	}
	if twice := entries.repeated(); twice != "" {
		return malformed(msgSyntax, "the Principal of %s has %q twice", where, twice)
	}
	for _, entry := range entries {
		if !slices.Contains([]string{federated, principalAWS, principalService, "CanonicalUser"}, entry.name) {
			return malformed(fmt.Sprintf("Invalid principal in policy: %q", entry.name), "%s", where).
				withHint(suggest(entry.name, federated, principalAWS, principalService))
		}
		values, err := texts(entry.value, "the Principal "+entry.name+" of "+where)
		if err != nil {
			return err
		}
		into.principals = append(into.principals, principal{entry.name, values})
	}
	return nil
}

func parseActions(into *statement, members object, where string) error {
	name := "Action"
	value, ok := members.get(name)
	if !ok {
		name = "NotAction"
		value, ok = members.get(name)
		into.not = true
	}
	if !ok {
		return malformed(msgNoAction, "%s", where)
	}
	actions, err := texts(value, "the "+name+" of "+where)
	if err != nil {
		return err
	}
	for _, action := range actions {
		// Prefix and name are case-insensitive (reference_policies_elements_action).
		if vendor, _, ok := strings.Cut(action, ":"); !ok || !strings.EqualFold(vendor, "sts") {
			return malformed(saysOnlySTS, "%s has %q", where, action).withHint("write " + Action)
		}
	}
	into.actions = actions
	return nil
}

func parseConditions(members object, where string) ([]condition, error) {
	value, ok := members.get("Condition")
	if !ok {
		return nil, nil
	}
	operators, ok := value.(object)
	if !ok {
		return nil, malformed(msgSyntax, "the Condition of %s is no JSON object", where)
	}
	if twice := operators.repeated(); twice != "" {
		return nil, malformed(msgSyntax, "the Condition of %s has %q twice, and only one of them could count", where, twice).
			withHint("put the keys under one " + twice)
	}
	var conditions []condition
	for _, entry := range operators {
		read, err := parseCondition(entry, where)
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, read...)
	}
	return conditions, nil
}

// parseCondition reads the keys of one operator.
func parseCondition(entry member, where string) ([]condition, error) {
	how, ok := parseOperator(entry.name)
	if !ok {
		return nil, malformed(msgSyntax, "%s has the condition operator %q, which does not exist", where, entry.name).withHint(suggestOperator(entry.name))
	}
	keys, ok := entry.value.(object)
	if !ok {
		return nil, malformed(msgSyntax, "%s of %s is no JSON object of keys", entry.name, where)
	}
	if twice := keys.repeated(); twice != "" {
		return nil, malformed(msgSyntax, "%s of %s has %q twice", entry.name, where, twice).
			withHint("write one key with a list of values")
	}
	var conditions []condition
	for _, key := range keys {
		if err := checkKey(key.name, where); err != nil {
			return nil, err
		}
		values, err := conditionValues(key.value, fmt.Sprintf("%s %s of %s", entry.name, key.name, where))
		if err != nil {
			return nil, err
		}
		conditions = append(conditions, condition{how, key.name, values})
	}
	return conditions, nil
}

// checkKey refuses a condition key that IAM refuses. More than one colon is
// refused only after a scheme: AWS takes no provider with a port
// (API_CreateOpenIDConnectProvider, Url), but a cluster on a laptop has one.
func checkKey(key, where string) error {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(strings.ToLower(key), scheme); ok {
			return malformed(saysOneColon, "%s has the key %q", where, key).
				withHint("did you mean " + key[len(key)-len(rest):] + ", without " + scheme + "?")
		}
	}
	if !strings.Contains(key, ":") {
		return malformed(saysVendor, "%s has the key %q", where, key).
			withHint("the key of a claim begins with the issuer, without https://: issuer:" + key)
	}
	return nil
}

// known refuses elements that the grammar does not have, and those that are there
// twice.
func known(members object, where string, names ...string) *MalformedError {
	for _, m := range members {
		if !slices.Contains(names, m.name) {
			return malformed(msgSyntax, "%s has the element %q", where, m.name).withHint(suggest(m.name, names...))
		}
	}
	if twice := members.repeated(); twice != "" {
		return malformed(msgSyntax, "%s has %q twice", where, twice)
	}
	return nil
}

// suggest returns a hint if a name is one of others but for its case.
func suggest(name string, names ...string) string {
	for _, other := range names {
		if strings.EqualFold(name, other) || strings.EqualFold(strings.TrimSuffix(name, "s"), other) {
			return "did you mean " + other + "?"
		}
	}
	return ""
}

// text returns a member that is a string, or "" without it.
func text(members object, name string) (string, error) {
	value, ok := members.get(name)
	if !ok {
		return "", nil
	}
	s, ok := value.(string)
	if !ok {
		return "", malformed(msgSyntax, "%s is no string", name)
	}
	return s, nil
}

// texts returns a string, or a list of at least one.
func texts(value any, where string) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	if len(list) == 0 {
		return nil, malformed(msgSyntax, "%s is an empty list", where)
	}
	read := make([]string, 0, len(list))
	for _, value := range list {
		s, ok := value.(string)
		if !ok {
			return nil, malformed(msgSyntax, "%s has %s, which is no string", where, formatElement(value))
		}
		read = append(read, s)
	}
	return read, nil
}

// conditionValues returns strings, numbers and booleans as they are written:
// quotes are optional for the latter two (grammar, "The policy language and JSON").
func conditionValues(value any, where string) ([]string, error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	quoted := make([]any, 0, len(list))
	for _, value := range list {
		switch value := value.(type) {
		case json.Number:
			quoted = append(quoted, value.String())
		case bool:
			quoted = append(quoted, strconv.FormatBool(value))
		default:
			quoted = append(quoted, value)
		}
	}
	return texts(quoted, where)
}

// formatElement names a value without quoting what may be long.
func formatElement(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case string:
		return quote(value)
	case object:
		return "an object"
	case []any:
		return "a list"
	default:
		return fmt.Sprint(value)
	}
}
