package skim_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// view takes a value of each sort, at every depth.
type view struct {
	Text  string            `json:"text"`
	Texts map[string]string `json:"texts"`
	List  []view            `json:"list"`
	Next  *view             `json:"next"`
}

func (v *view) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "text":
			v.Text = r.Text()
		case "texts":
			v.Texts = r.Texts(nil)
		case "list":
			v.List = skim.List(r, (*view).read)
		case "next":
			v.Next = skim.Pointer(r, (*view).read)
		}
	}
}

func read(document string) (view, error) {
	var v view
	err := skim.Read([]byte(document), math.MaxInt, v.read)
	return v, err
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, document string
		want           view
	}{
		{"null is the zero value", `null`, view{}},
		{"members that nobody wants are passed over", `{"a":[1,{"text":"no"}],"text":"yes","b":{"c":null}}`, view{Text: "yes"}},
		{"null members are zero values", `{"text":null,"texts":null,"list":null,"next":null}`, view{}},
		{"empty ones are not null", `{"texts":{},"list":[],"next":{}}`, view{Texts: map[string]string{}, List: []view{}, Next: &view{}}},
		{"elements may be null", `{"list":[null,{"text":"b"}],"texts":{"a":null}}`, view{Texts: map[string]string{"a": ""}, List: []view{{}, {Text: "b"}}}},
		{"the last of two equal names counts", `{"text":"a","text":"b"}`, view{Text: "b"}},
		{"names are compared to the letter", `{"Text":"a"}`, view{}},
		{"names may be escaped", `{"te\u0078t":"a"}`, view{Text: "a"}},
		{"escapes are resolved", `{"text":"a\"\\\/\b\f\n\r\té\ud834\udd1e"}`, view{Text: "a\"\\/\b\f\n\r\té𝄞"}},
		{"half a pair of surrogates is replaced", `{"text":"\ud800a"}`, view{Text: "\ufffda"}},
		{"what is no UTF-8 is replaced", "{\"text\":\"\xff\xfe\",\"texts\":{\"\xff\xfe\":\"\"}}", view{Text: "\ufffd\ufffd", Texts: map[string]string{"\ufffd\ufffd": ""}}},
		{"space is allowed everywhere", " {\n\t\"text\" :\r\"a\" , \"list\" : [ { } , null ] } ", view{Text: "a", List: []view{{}, {}}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := read(test.document)
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("%+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

// TestAnErrorSaysWhereAndNotWhat: a value may be a secret.
func TestAnErrorSaysWhereAndNotWhat(t *testing.T) {
	for _, test := range []struct{ name, document, want string }{
		{"nothing", ``, `at byte 0, "": malformed JSON`},
		{"half a document", `{"list":[{"text":"secret`, `at byte 24, "/list/0/text": malformed JSON`},
		{"more than one value", `{} secret`, `at byte 3, "": malformed JSON`},
		{"a comma too many", `{"list":[{},]}`, `at byte 11, "/list": malformed JSON`},
		{"a control character", "{\"text\":\"secret\n\"}", `at byte 15, "/text": malformed JSON`},
		{"an escape that is none", `{"a":{"b":"\x"}}`, `at byte 11, "/a/b": malformed JSON`},
		{"a number that is none", `{"a":01}`, `at byte 6, "": malformed JSON`},
		{"another kind", `{"list":[{},{"next":{"text":{"secret":"secret"}}}]}`, `at byte 28, "/list/1/next/text": a JSON object cannot be used here`},
		{"another kind of document", ` ["secret"]`, `at byte 1, "": a JSON array cannot be used here`},
		{"another kind of list", `{"list":"secret"}`, `at byte 8, "/list": a JSON string cannot be used here`},
		{"another kind of text in an object", `{"texts":{"a":true}}`, `at byte 14, "/texts/a": a JSON boolean cannot be used here`},
		{"another kind of pointer", `{"next":12}`, `at byte 8, "/next": a JSON number cannot be used here`},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := read(test.document)
			if _, ok := errors.AsType[*skim.Error](err); !ok || err.Error() != test.want {
				t.Errorf("%v, want %s", err, test.want)
			}
		})
	}
}

// TestWhatIsReadIsACopy: the document's memory is used again.
func TestWhatIsReadIsACopy(t *testing.T) {
	document := []byte(`{"text":"a","texts":{"b":"c"}}`)
	var got view
	if err := skim.Read(document, math.MaxInt, got.read); err != nil {
		t.Fatal(err)
	}
	for n := range document {
		document[n] = 'x'
	}
	if want := (view{Text: "a", Texts: map[string]string{"b": "c"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
}

func TestNestingHasAnEnd(t *testing.T) {
	const deep = 9_999
	if _, err := read(strings.Repeat("[", deep) + strings.Repeat("]", deep)); err == nil {
		t.Error("an array is read as an object")
	}
	for _, test := range []struct {
		depth int
		ok    bool
	}{{deep, true}, {100_000, false}} {
		document := `{"a":` + strings.Repeat("[", test.depth) + strings.Repeat("]", test.depth) + "}"
		if _, err := read(document); (err == nil) != test.ok {
			t.Errorf("%d deep: %v", test.depth, err)
		}
	}
}

// TestAReadLeavesNoLargeStack: a goroutine that has one keeps it, and a connection has
// a goroutine.
func TestAReadLeavesNoLargeStack(t *testing.T) {
	document := `{"a":` + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000) + "}"
	var before, after runtime.MemStats
	const goroutines = 100
	var read, done sync.WaitGroup
	end := make(chan struct{})
	runtime.ReadMemStats(&before)
	for range goroutines {
		read.Add(1)
		done.Go(func() {
			var v view
			if err := skim.Read([]byte(document), math.MaxInt, v.read); err != nil {
				t.Error(err)
			}
			read.Done()
			<-end
		})
	}
	read.Wait()
	runtime.ReadMemStats(&after)
	close(end)
	done.Wait()
	if each := (int64(after.StackInuse) - int64(before.StackInuse)) / goroutines; each > 64<<10 {
		t.Errorf("a stack of %d bytes", each)
	}
}

func TestReadMakesNoMoreThanMaxValues(t *testing.T) {
	for n, want := range map[int]error{skim.MaxValues: nil, skim.MaxValues + 1: skim.ErrTooMany} {
		if _, err := read(`{"list":[null` + strings.Repeat(",null", n-1) + "]}"); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", n, err, want)
		}
	}
}

func TestATextThatBecomesLongerIsPaidFor(t *testing.T) {
	var v view
	document := []byte("{\"text\":\"" + strings.Repeat("\xff", 1000) + "\"}")
	if err := skim.Read(document, 2000, v.read); !errors.Is(err, skim.ErrTooMuch) {
		t.Error(err)
	}
}

func TestHasPrefix(t *testing.T) {
	for quoted, want := range map[string]bool{
		`"AWS_REGION"`: true, `"AWS_"`: true, `"\u0041WS_"`: true, `"AWS"`: false, `""`: false, `"\"AWS_"`: false, `"xAWS_"`: false,
	} {
		if got := skim.Quoted(quoted).HasPrefix("AWS_"); got != want {
			t.Errorf("%s: %t", quoted, got)
		}
	}
	if skim.Quoted(nil).HasPrefix("AWS_") || !skim.Quoted(nil).HasPrefix("") {
		t.Error("null is not the empty string")
	}
}

func TestReadSpendsNoMoreThanItMay(t *testing.T) {
	document := []byte(`{"list":[{},{"list":[null]}],"texts":{"a":"b","c":null},"next":{"next":{}},"other":[1,{},{}]}`)
	size := int(reflect.TypeFor[view]().Size())
	enough := 3*3*size + 2*160 + 2*size
	for most, want := range map[int]error{0: skim.ErrTooMuch, size: skim.ErrTooMuch, enough - 1: skim.ErrTooMuch, enough: nil, math.MaxInt: nil} {
		var v view
		if err := skim.Read(document, most, v.read); !errors.Is(err, want) {
			t.Errorf("%d bytes: %v, want %v", most, err, want)
		}
	}
}

// surrogate matches what an API server never sends: half of a letter.
var surrogate = regexp.MustCompile(`(?i)\\ud[89a-f]`)

// FuzzSkim holds it to another library: what is JSON to one is to the other, and
// what is a view to one is the same view to the other. What becomes of a name that
// repeats in an object differs.
func FuzzSkim(f *testing.F) {
	for _, document := range []string{
		``, `null`, `{}`, `{"text":"a","texts":{"b":"c"},"list":[null,{"next":{"text":"\u00e9"}}]}`, `{"text":1}`, `{"a":-0.5e+10,"b":[true,false,null]}`,
		`{"list":[{},]}`, `{"a":01}`, "{\"text\":\"\xff\"}", `{"te\u0078t":"\ud834\udd1e"}`, `[]`, `{}{}`, `{"a":"\u12g4"}`, `{"a":tru}`, ` { } `,
	} {
		f.Add([]byte(document))
	}
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	f.Fuzz(func(t *testing.T, document []byte) {
		var got, want view
		err := skim.Read(bytes.Clone(document), math.MaxInt, got.read)
		wantErr := json.Unmarshal(document, &want, lenient)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%v, want %v", err, wantErr)
		}
		if wrong, ok := errors.AsType[*skim.Error](err); err != nil && (!ok || wrong.Offset > int64(len(document))) {
			t.Fatalf("%T: %v", err, err)
		}
		unique := jsontext.Value(document).IsValid(jsontext.AllowInvalidUTF8(true))
		if err == nil && unique && !surrogate.Match(document) && !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, want %+v", got, want)
		}
	})
}
