package trustpolicy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Parse parses a trust policy. Names of elements are case-sensitive, an element can
// occur once, and unknown elements are not allowed (grammar, "Policy grammar notes").
// It returns a *MalformedError if the document is invalid.
func Parse(document []byte) (Document, error) {
	value, err := readJSON(document)
	if err != nil {
		return Document{}, malformed(msgInvalidJSON, "%v", err)
	}
	top, ok := value.(object)
	if !ok {
		return Document{}, malformed(msgSyntax, "not a JSON object")
	}
	if fault := checkNames(top, "the policy", "Version", "Id", "Statement"); fault != nil {
		return Document{}, fault
	}
	read := Document{}
	if read.version, err = text(top, "Version"); err != nil {
		return Document{}, err
	}
	if _, has := top.get("Version"); has && read.version != version2008 && read.version != version2012 {
		return Document{}, malformed(msgVersion, "Version is %q", read.version).
			withHint("use " + version2012)
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
		list = []any{value} // a single statement needs no list
	}
	if value == nil || len(list) == 0 {
		return nil, malformed(msgNoStatement, "the policy has no statement")
	}
	statements := make([]statement, 0, len(list))
	sids := map[string]bool{}
	for i, value := range list {
		members, ok := value.(object)
		if !ok {
			return nil, malformed(msgSyntax, "statement %d is not a JSON object", i+1)
		}
		read, err := parseStatement(members, fmt.Sprintf("statement %d", i+1))
		if err != nil {
			return nil, err
		}
		if read.sid != "" && sids[read.sid] {
			return nil, malformed(msgDuplicateSid, "Sid %q occurs twice", read.sid)
		}
		sids[read.sid] = true
		statements = append(statements, read)
	}
	return statements, nil
}

func parseStatement(members object, where string) (statement, error) {
	if err := checkElements(members, where); err != nil {
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

// checkElements returns an error for an element that the statement of a trust policy
// cannot have. NotPrincipal is not allowed (reference_policies_elements_notprincipal,
// "Key points"). Resource is not allowed either, because the role is the resource.
func checkElements(members object, where string) error {
	if fault := checkNames(members, where, "Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction",
		"Resource", "NotResource", "Condition"); fault != nil {
		return fault
	}
	has := func(name string) bool { _, ok := members.get(name); return ok }
	effect, _ := members.get("Effect")
	switch {
	case has("NotPrincipal") && effect == effectAllow:
		return malformed(msgAllowNot, "%s", where)
	case has("NotPrincipal"):
		return malformed(msgNotPrincipal, "%s", where)
	case has("Resource"):
		return malformed(msgResource, "%s", where).withHint("remove it: the resource of a trust policy is its role")
	case has("NotResource"):
		return malformed(msgNotResource, "%s", where).withHint("remove it: the resource of a trust policy is its role")
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
			withHint("Effect is case-sensitive: write Allow or Deny")
	default:
		return "", malformed(fmt.Sprintf("Invalid effect: %v", formatElement(value)), "the Effect of %s is neither Allow nor Deny", where)
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
		return malformed(msgSyntax, "the Principal of %s is not a JSON object", where).
			withHint(`write {"Federated": "ARN of the OIDC provider"}`)
	}
	if len(entries) == 0 {
		return malformed(msgEmptyPrincipal, "%s", where)
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
			return malformed(msgOnlySTS, "%s has %q", where, action).withHint("write " + Action)
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
		return nil, malformed(msgSyntax, "the Condition of %s is not a JSON object", where)
	}
	if twice := operators.repeated(); twice != "" {
		return nil, malformed(msgSyntax, "the Condition of %s has %q twice, and only one would apply", where, twice).
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

// parseCondition returns the conditions of one operator, one for each key.
func parseCondition(entry member, where string) ([]condition, error) {
	op, ok := parseOperator(entry.name)
	if !ok {
		return nil, malformed(msgSyntax, "%s has the unknown condition operator %q", where, entry.name).withHint(suggestOperator(entry.name))
	}
	keys, ok := entry.value.(object)
	if !ok {
		return nil, malformed(msgSyntax, "%s of %s is not a JSON object of keys", entry.name, where)
	}
	if twice := keys.repeated(); twice != "" {
		return nil, malformed(msgSyntax, "%s of %s has %q twice", entry.name, where, twice).
			withHint("use one key with a list of values")
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
		conditions = append(conditions, condition{op, key.name, values})
	}
	return conditions, nil
}

// checkKey returns an error for a condition key that IAM rejects. It rejects more than
// one colon only after a scheme. AWS accepts no provider with a port
// (API_CreateOpenIDConnectProvider, Url), but the issuer of a local cluster has one.
func checkKey(key, where string) error {
	for _, scheme := range []string{"https://", "http://"} {
		if rest, ok := strings.CutPrefix(strings.ToLower(key), scheme); ok {
			return malformed(msgOneColon, "%s has the key %q", where, key).
				withHint("did you mean " + key[len(key)-len(rest):] + ", without " + scheme + "?")
		}
	}
	if !strings.Contains(key, ":") {
		return malformed(msgVendor, "%s has the key %q", where, key).
			withHint("the key of a claim begins with the issuer without https://; use issuer:" + key)
	}
	return nil
}

// checkNames returns an error if an element has none of the names, or occurs twice.
func checkNames(members object, where string, names ...string) *MalformedError {
	for _, m := range members {
		if !slices.Contains(names, m.name) {
			return malformed(msgSyntax, "%s has the unknown element %q", where, m.name).withHint(suggest(m.name, names...))
		}
	}
	if twice := members.repeated(); twice != "" {
		return malformed(msgSyntax, "%s has %q twice", where, twice)
	}
	return nil
}

// suggest returns a hint if name differs from one of the names only in case or in a
// final s, or "".
func suggest(name string, names ...string) string {
	for _, other := range names {
		if strings.EqualFold(name, other) || strings.EqualFold(strings.TrimSuffix(name, "s"), other) {
			return "did you mean " + other + "?"
		}
	}
	return ""
}

// text returns the value of a member, or "" if there is none. It returns an error if the
// value is not a string.
func text(members object, name string) (string, error) {
	value, ok := members.get(name)
	if !ok {
		return "", nil
	}
	s, ok := value.(string)
	if !ok {
		return "", malformed(msgSyntax, "%s is not a string", name)
	}
	return s, nil
}

// texts returns the strings of a value that is a string or a list of strings. It returns
// an error for any other value and for an empty list.
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
			return nil, malformed(msgSyntax, "%s has %s, which is not a string", where, formatElement(value))
		}
		read = append(read, s)
	}
	return read, nil
}

// conditionValues returns strings, numbers and booleans as strings. Numbers and booleans
// need no quotes (grammar, "The policy language and JSON").
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

// formatElement returns a short description of a value for a message.
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
