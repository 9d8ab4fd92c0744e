package boundedjson_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/boundedjson"
)

type view struct {
	Text  string            `json:"text"`
	Bool  bool              `json:"bool"`
	Texts map[string]string `json:"texts"`
	List  []view            `json:"list"`
	Next  *view             `json:"next"`
}

var decoder = boundedjson.NewDecoder(boundedjson.List[view](0))

func TestDecode_invalid(t *testing.T) {
	long := strings.Repeat("a", 10_000)
	for name, test := range map[string]struct {
		document string
		want     boundedjson.Error
	}{
		"empty":                           {``, boundedjson.Error{}},
		"half":                            {`{"list":[{"text":"hunter2`, boundedjson.Error{Offset: 25, Pointer: "/list/0/text"}},
		"more than one value":             {`{} {}`, boundedjson.Error{Offset: 3}},
		"an array":                        {`[]`, boundedjson.Error{Kind: "array"}},
		"a number for a text":             {`{"text":12345}`, boundedjson.Error{Offset: 8, Pointer: "/text", Kind: "number"}},
		"an object for a list of objects": {`{"list":[{"list":{"hunter2":1}}]}`, boundedjson.Error{Offset: 17, Pointer: "/list/0/list", Kind: "object"}},
		"a text in a list":                {`{"list":["hunter2"]}`, boundedjson.Error{Offset: 9, Pointer: "/list/0", Kind: "string"}},
		"a list for a map":                {`{"texts":["hunter2"]}`, boundedjson.Error{Offset: 9, Pointer: "/texts", Kind: "array"}},
		"a boolean in a map":              {`{"texts":{"a":true}}`, boundedjson.Error{Offset: 14, Pointer: "/texts/a", Kind: "boolean"}},
		"a long name":                     {`{"texts":{"` + long + `":1}}`, boundedjson.Error{Offset: 10_013, Pointer: jsontext.Pointer(long[:200]), Kind: "number"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := decoder.Decode([]byte(test.document), new(view), math.MaxInt)
			got, ok := errors.AsType[*boundedjson.Error](err)
			if !ok || got.Pointer != test.want.Pointer || got.Kind != test.want.Kind {
				t.Fatalf("got %#v, want %#v", err, test.want)
			}
			if strings.Contains(err.Error(), "hunter2") && !strings.Contains(string(got.Pointer), "hunter2") {
				t.Errorf("%v quotes a value", err)
			}
		})
	}
}

func TestDecode_valid(t *testing.T) {
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
			if err := decoder.Decode([]byte(test.document), &got, math.MaxInt); err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}

func TestDecode_bounds(t *testing.T) {
	document := []byte(`{"list":[{},{"list":[null]}],"texts":{"a":"b","c":null},"next":{"next":{}},"other":[1,{},{}]}`)
	enough := 3*3*int(reflect.TypeFor[view]().Size()) + 2*160
	for bytes, want := range map[int]error{0: boundedjson.ErrTooLarge, enough - 1: boundedjson.ErrTooLarge, enough: nil, math.MaxInt: nil} {
		if err := decoder.Decode(document, new(view), bytes); !errors.Is(err, want) {
			t.Errorf("%d bytes: got %v, want %v", bytes, err, want)
		}
	}
	for name, item := range map[string]string{"lists": `{}`, "lists of lists": `{"list":[]}`} {
		for n, want := range map[int]error{boundedjson.MaxValues: nil, boundedjson.MaxValues + 1: boundedjson.ErrTooMany} {
			document := []byte(`{"list":[` + item + strings.Repeat(","+item, n-1) + `]}`)
			if err := decoder.Decode(document, new(view), math.MaxInt); !errors.Is(err, want) {
				t.Errorf("%s of %d: got %v, want %v", name, n, err, want)
			}
		}
	}
	nested := []byte(`{"list":[` + strings.Repeat(`{"list":[{},{}]},`, boundedjson.MaxValues/3) + `{}]}`)
	if err := decoder.Decode(nested, new(view), math.MaxInt); err != nil {
		t.Error(err)
	}
	nested = []byte(`{"list":[` + strings.Repeat(`{"list":[{},{}]},`, boundedjson.MaxValues/3+1) + `{}]}`)
	if err := decoder.Decode(nested, new(view), math.MaxInt); !errors.Is(err, boundedjson.ErrTooMany) {
		t.Errorf("nested lists: got %v, want %v", err, boundedjson.ErrTooMany)
	}
}

// FuzzDecode compares the result with the library's own, which has no bounds. A map or
// a list whose name is repeated in an object is replaced, and not merged.
func FuzzDecode(f *testing.F) {
	for _, document := range []string{
		``, `null`, `{}`, `{"text":"a","texts":{"b":"c"},"list":[null,{"next":{"text":"\u00e9"}}]}`, `{"text":1}`, `{"a":-0.5e+10,"b":[true,false,null]}`,
		`{"list":[{},]}`, `{"a":01}`, "{\"text\":\"\xff\"}", `{"te\u0078t":"\ud834\udd1e"}`, `[]`, `{}{}`, `{"texts":{"a":1}}`, `{"texts":null,"list":null}`,
	} {
		f.Add([]byte(document))
	}
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	f.Fuzz(func(t *testing.T, document []byte) {
		var got, want view
		err := decoder.Decode(bytes.Clone(document), &got, math.MaxInt)
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
