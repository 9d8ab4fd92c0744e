package inject_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// missingFrom describes the first part of the JSON document before that is not in after. It
// returns "" if nothing is missing. Objects must keep their names, and lists must keep their
// elements in the same relative order. Other values must be equal, including all digits. A
// null is the same as an absent name, so it may become any value.
func missingFrom(before, after []byte) string {
	return lostValue("", parse(before), parse(after))
}

// parse decodes a JSON document and keeps numbers as text. It returns nil for invalid JSON.
func parse(document []byte) any {
	decoder := json.NewDecoder(strings.NewReader(string(document)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil
	}
	return value
}

func lostValue(at string, before, after any) string {
	switch before := before.(type) {
	case nil:
		return ""
	case map[string]any:
		after, ok := after.(map[string]any)
		if !ok {
			return at + " is not an object anymore"
		}
		for name, value := range before {
			kept, ok := after[name]
			if !ok {
				return at + "/" + name + " is missing"
			}
			if fault := lostValue(at+"/"+name, value, kept); fault != "" {
				return fault
			}
		}
		return ""
	case []any:
		after, ok := after.([]any)
		if !ok {
			return at + " is not a list anymore"
		}
		return lostElement(at, before, after)
	default:
		if before != after {
			return fmt.Sprintf("%s is %v, was %v", at, after, before)
		}
		return ""
	}
}

// lostElement searches each element of before in after, at the first place behind the
// previous one. If there is a way to find all of them in order, this finds one.
func lostElement(at string, before, after []any) string {
	next := 0
	for i, value := range before {
		here := fmt.Sprintf("%s/%d", at, i)
		fault := here + " is missing"
		for ; next < len(after); next++ {
			if fault = lostValue(here, value, after[next]); fault == "" {
				break
			}
		}
		if fault != "" {
			return fault
		}
		next++
	}
	return ""
}

func TestMissingFrom(t *testing.T) {
	for _, test := range []struct {
		name, before, after, want string
	}{
		{"the same document loses nothing", `{"a":[1,{"b":null}]}`, `{"a":[1,{"b":null}]}`, ""},
		{"a new name loses nothing", `{"a":1}`, `{"a":1,"b":2}`, ""},
		{"a new first element loses nothing", `[1,2]`, `[0,1,2]`, ""},
		{"a new element between two loses nothing", `[1,2]`, `[1,0,2,0]`, ""},
		{"an element with a new field loses nothing", `[{"a":1}]`, `[{"c":1},{"a":1,"b":2}]`, ""},
		{"a name is lost", `{"a":1,"b":2}`, `{"a":1}`, "/b is missing"},
		{"a value has changed", `{"a":{"b":1}}`, `{"a":{"b":2}}`, "/a/b is 2, was 1"},
		{"a digit has changed", `{"a":9007199254740993}`, `{"a":9007199254740992}`, "/a is 9007199254740992, was 9007199254740993"},
		{"a number is written in another way", `[1.0]`, `[1]`, "/0 is 1, was 1.0"},
		{"a null is lost", `{"a":null}`, `{}`, "/a is missing"},
		{"a null has a value", `{"a":null}`, `{"a":[]}`, ""},
		{"an element is lost", `[1,2]`, `[1]`, "/1 is missing"},
		{"an element is there once, was there twice", `[1,1]`, `[1,2]`, "/1 is 2, was 1"},
		{"elements are reordered", `[1,2]`, `[2,1]`, "/1 is missing"},
		{"a list is an object", `{"a":[]}`, `{"a":{}}`, "/a is not a list anymore"},
		{"an object is a list", `{"a":{}}`, `{"a":[]}`, "/a is not an object anymore"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := missingFrom([]byte(test.before), []byte(test.after)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
