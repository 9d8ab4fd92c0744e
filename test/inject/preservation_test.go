package inject_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// missingFrom says what of the JSON document before is not in after, or "" if all of it
// is: each object has its names still, each list has its elements still in the
// same relative order, and each other value is the same, to the digit. A null
// says no more than an absent name does, and may have become anything.
func missingFrom(before, after []byte) string {
	return lostValue("", parse(before), parse(after))
}

// parse reads a JSON document and keeps its numbers as they are written. What
// is no JSON becomes nil.
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
			return at + " is no object any more"
		}
		for name, value := range before {
			kept, ok := after[name]
			if !ok {
				return at + "/" + name + " is gone"
			}
			if fault := lostValue(at+"/"+name, value, kept); fault != "" {
				return fault
			}
		}
		return ""
	case []any:
		after, ok := after.([]any)
		if !ok {
			return at + " is no list any more"
		}
		return lostElement(at, before, after)
	default:
		if before != after {
			return fmt.Sprintf("%s is %v, was %v", at, after, before)
		}
		return ""
	}
}

// lostElement looks for each element of before at the first place in after that
// has it, after the place of the one before it: if there is any way to find
// them all in order, this is one.
func lostElement(at string, before, after []any) string {
	next := 0
	for i, value := range before {
		here := fmt.Sprintf("%s/%d", at, i)
		fault := here + " is gone"
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
		{"an element that has grown loses nothing", `[{"a":1}]`, `[{"c":1},{"a":1,"b":2}]`, ""},
		{"a name is lost", `{"a":1,"b":2}`, `{"a":1}`, "/b is gone"},
		{"a value has changed", `{"a":{"b":1}}`, `{"a":{"b":2}}`, "/a/b is 2, was 1"},
		{"a digit has changed", `{"a":9007199254740993}`, `{"a":9007199254740992}`, "/a is 9007199254740992, was 9007199254740993"},
		{"a number is written in another way", `[1.0]`, `[1]`, "/0 is 1, was 1.0"},
		{"a null is lost", `{"a":null}`, `{}`, "/a is gone"},
		{"a null has a value", `{"a":null}`, `{"a":[]}`, ""},
		{"an element is lost", `[1,2]`, `[1]`, "/1 is gone"},
		{"an element is there once, was there twice", `[1,1]`, `[1,2]`, "/1 is 2, was 1"},
		{"elements have changed places", `[1,2]`, `[2,1]`, "/1 is gone"},
		{"a list is an object", `{"a":[]}`, `{"a":{}}`, "/a is no list any more"},
		{"an object is a list", `{"a":{}}`, `{"a":[]}`, "/a is no object any more"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := missingFrom([]byte(test.before), []byte(test.after)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
