package jsonreader_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
)

type view struct {
	Text  string            `json:"text"`
	Bool  bool              `json:"bool"`
	Texts map[string]string `json:"texts"`
	List  []view            `json:"list"`
	Next  *view             `json:"next"`
}

func (v *view) read(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "text":
			v.Text = r.String()
		case "bool":
			v.Bool = r.Bool()
		case "texts":
			v.Texts = r.Strings(nil)
		case "list":
			v.List = jsonreader.List(r, 0, (*view).read)
		case "next":
			v.Next = jsonreader.Pointer(r, (*view).read)
		}
	}
}

func TestRead_invalid(t *testing.T) {
	long := strings.Repeat("a", 10_000)
	for name, test := range map[string]struct {
		document string
		want     jsonreader.Error
	}{
		"empty":                           {``, jsonreader.Error{}},
		"half":                            {`{"list":[{"text":"hunter2`, jsonreader.Error{Offset: 25, Pointer: "/list/0/text"}},
		"more than one value":             {`{} {}`, jsonreader.Error{Offset: 3}},
		"an array":                        {`[]`, jsonreader.Error{Kind: "array"}},
		"a number for a text":             {`{"text":12345}`, jsonreader.Error{Offset: 8, Pointer: "/text", Kind: "number"}},
		"an object for a list of objects": {`{"list":[{"list":{"hunter2":1}}]}`, jsonreader.Error{Offset: 17, Pointer: "/list/0/list", Kind: "object"}},
		"a text in a list":                {`{"list":["hunter2"]}`, jsonreader.Error{Offset: 9, Pointer: "/list/0", Kind: "string"}},
		"a list for a map":                {`{"texts":["hunter2"]}`, jsonreader.Error{Offset: 9, Pointer: "/texts", Kind: "array"}},
		"a boolean in a map":              {`{"texts":{"a":true}}`, jsonreader.Error{Offset: 14, Pointer: "/texts/a", Kind: "boolean"}},
		"a long name":                     {`{"texts":{"` + long + `":1}}`, jsonreader.Error{Offset: 10_013, Pointer: jsontext.Pointer(long[:200]), Kind: "number"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := jsonreader.Read([]byte(test.document), math.MaxInt, new(view).read)
			got, ok := errors.AsType[*jsonreader.Error](err)
			if !ok || *got != test.want {
				t.Fatalf("got %#v, want %#v", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") && !strings.Contains(string(got.Pointer), "hunter2") {
				t.Errorf("%v quotes a value", err)
			}
		})
	}
}

func TestRead_valid(t *testing.T) {
	for _, test := range []struct {
		name, document string
		want           view
	}{
		{"null is the zero value", `null`, view{}},
		{"unknown members are skipped", `{"a":[1,{"text":"no"}],"text":"yes","b":{"c":null}}`, view{Text: "yes"}},
		{"null members are zero values", `{"text":null,"bool":null,"texts":null,"list":null,"next":null}`, view{}},
		{"empty members are not null", `{"texts":{},"list":[],"next":{}}`, view{Texts: map[string]string{}, List: []view{}, Next: &view{}}},
		{"elements can be null", `{"list":[null,{"text":"b"}],"texts":{"a":null}}`, view{Texts: map[string]string{"a": ""}, List: []view{{}, {Text: "b"}}}},
		{"the last of two equal names counts", `{"text":"a","text":"b","list":[{}],"list":[]}`, view{Text: "b", List: []view{}}},
		{"names are case-sensitive", `{"Text":"a"}`, view{}},
		{"names can be escaped", `{"te\u0078t":"a"}`, view{Text: "a"}},
		{"half a pair of surrogates is replaced", `{"text":"\ud800a"}`, view{Text: "\ufffda"}},
		{"invalid UTF-8 is replaced", "{\"text\":\"\xff\xfe\",\"texts\":{\"\xff\xfe\":\"\"}}", view{Text: "\ufffd\ufffd", Texts: map[string]string{"\ufffd\ufffd": ""}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got view
			if err := jsonreader.Read([]byte(test.document), math.MaxInt, got.read); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestRead_bounds(t *testing.T) {
	document := []byte(`{"list":[{},{"list":[null]}],"texts":{"a":"b","c":null},"next":{"next":{}},"other":[1,{},{}]}`)
	enough := (3*3+2)*int(reflect.TypeFor[view]().Size()) + 2*160
	for bytes, want := range map[int]error{0: jsonreader.ErrTooLarge, enough - 1: jsonreader.ErrTooLarge, enough: nil, math.MaxInt: nil} {
		if err := jsonreader.Read(document, bytes, new(view).read); !errors.Is(err, want) {
			t.Errorf("%d bytes: got %v, want %v", bytes, err, want)
		}
	}
	for name, item := range map[string]string{"lists": `{}`, "lists of lists": `{"list":[]}`} {
		for n, want := range map[int]error{jsonreader.MaxValues: nil, jsonreader.MaxValues + 1: jsonreader.ErrTooMany} {
			document := []byte(`{"list":[` + item + strings.Repeat(","+item, n-1) + `]}`)
			if err := jsonreader.Read(document, math.MaxInt, new(view).read); !errors.Is(err, want) {
				t.Errorf("%s of %d: got %v, want %v", name, n, err, want)
			}
		}
	}
	nested := []byte(`{"list":[` + strings.Repeat(`{"list":[{},{}]},`, jsonreader.MaxValues/3) + `{}]}`)
	if err := jsonreader.Read(nested, math.MaxInt, new(view).read); err != nil {
		t.Error(err)
	}
	nested = []byte(`{"list":[` + strings.Repeat(`{"list":[{},{}]},`, jsonreader.MaxValues/3+1) + `{}]}`)
	if err := jsonreader.Read(nested, math.MaxInt, new(view).read); !errors.Is(err, jsonreader.ErrTooMany) {
		t.Errorf("nested lists: got %v, want %v", err, jsonreader.ErrTooMany)
	}
}

// FuzzRead compares the result with that of the library, which has no limits. If a name
// is repeated, its map or list is replaced and not merged.
func FuzzRead(f *testing.F) {
	for _, document := range []string{
		``, `null`, `{}`, `{"text":"a","texts":{"b":"c"},"list":[null,{"next":{"text":"\u00e9"}}]}`, `{"text":1}`, `{"a":-0.5e+10,"b":[true,false,null]}`,
		`{"list":[{},]}`, `{"a":01}`, "{\"text\":\"\xff\"}", `{"te\u0078t":"\ud834\udd1e"}`, `[]`, `{}{}`, `{"texts":{"a":1}}`, `{"texts":null,"list":null}`,
	} {
		f.Add([]byte(document))
	}
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	f.Fuzz(func(t *testing.T, document []byte) {
		var got, want view
		err := jsonreader.Read(bytes.Clone(document), math.MaxInt, got.read)
		wantErr := json.Unmarshal(document, &want, lenient)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("got %v, want %v", err, wantErr)
		}
		unique := jsontext.Value(document).IsValid(jsontext.AllowInvalidUTF8(true))
		if err == nil && unique && !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
