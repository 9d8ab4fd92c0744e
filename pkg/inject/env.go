package inject

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// envPrefix begins the name of each variable that a decision looks at.
const envPrefix = "AWS_"

// Env is the view of a container's environment: its variables whose name begins
// with envPrefix, in their order. It is nil if the list is absent. A large pod
// has hundreds of others, and to decode them is most of the work with it.
type Env []EnvVar

// EnvVar is the view of an environment variable. Value is empty for one that
// comes from elsewhere.
type EnvVar struct {
	Name, Value string
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (e *Env) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	switch start, err := decoder.ReadToken(); {
	case err != nil:
		return err
	case start.Kind() == 'n':
		*e = nil
		return nil
	case start.Kind() != '[':
		return unexpected(start.Kind())
	}
	*e = Env{}
	for decoder.PeekKind() != ']' {
		variable, err := readEnvVar(decoder)
		if err != nil {
			return err
		}
		if len(variable.Name) >= len(envPrefix) && variable.Name[:len(envPrefix)] == envPrefix {
			*e = append(*e, variable)
		}
	}
	_, err := decoder.ReadToken()
	return err
}

// readEnvVar reads a variable. Name and Value are empty for one that is not
// looked at.
func readEnvVar(decoder *jsontext.Decoder) (EnvVar, error) {
	switch start, err := decoder.ReadToken(); {
	case err != nil:
		return EnvVar{}, err
	case start.Kind() == 'n':
		return EnvVar{}, nil
	case start.Kind() != '{':
		return EnvVar{}, unexpected(start.Kind())
	}
	var variable EnvVar
	// An API server writes the name first, and once; if it is of no interest,
	// nor is the value.
	skip, skipped := false, false
	for decoder.PeekKind() != '}' {
		key, err := decoder.ReadValue()
		if err != nil {
			return EnvVar{}, err
		}
		var field *string
		switch {
		case isString(key, "name"):
			field = &variable.Name
		case isString(key, "value"):
			field = &variable.Value
		}
		value, err := decoder.ReadValue()
		switch {
		case err != nil:
			return EnvVar{}, err
		case field == nil:
			continue
		case value.Kind() == 'n':
			*field = ""
			continue
		case value.Kind() != '"':
			return EnvVar{}, unexpected(value.Kind())
		case field == &variable.Name && skipped:
			return EnvVar{}, &json.SemanticError{JSONKind: value.Kind(), Err: errors.New("a variable has two names")}
		case field == &variable.Name:
			skip = !mayBeginWith(value, envPrefix)
		}
		if skip {
			skipped = field == &variable.Value
			*field = ""
			continue
		}
		unquoted, err := jsontext.AppendUnquote(nil, value)
		if err != nil && unquoted == nil {
			return EnvVar{}, err
		}
		*field = string(unquoted)
	}
	_, err := decoder.ReadToken()
	return variable, err
}

// isString says whether a JSON string is s, which has nothing to escape.
func isString(quoted jsontext.Value, s string) bool {
	if len(quoted) == len(s)+2 {
		return string(quoted[1:len(quoted)-1]) == s
	}
	if bytes.IndexByte(quoted, '\\') < 0 {
		return false
	}
	unquoted, _ := jsontext.AppendUnquote(nil, quoted)
	return string(unquoted) == s
}

// mayBeginWith says whether a JSON string begins with prefix, or has an escape
// that keeps it from being told at a glance.
func mayBeginWith(quoted jsontext.Value, prefix string) bool {
	return bytes.HasPrefix(quoted[1:], []byte(prefix)) || bytes.IndexByte(quoted, '\\') >= 0
}

func unexpected(kind jsontext.Kind) error {
	return &json.SemanticError{JSONKind: kind, Err: fmt.Errorf("unexpected JSON %s in an environment", kind)}
}
