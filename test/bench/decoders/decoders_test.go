// Package decoders benchmarks JSON libraries with the fields of an AdmissionReview that
// the webhook needs, and compares them with the webhook's own decoder.
package decoders

import (
	stdjson "encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/bytedance/sonic"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	goccy "github.com/goccy/go-json"
	jsoniter "github.com/json-iterator/go"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

type (
	review struct {
		Request struct {
			Object    *pod `json:"object"`
			OldObject *pod `json:"oldObject"`
		} `json:"request"`
	}
	pod struct {
		Metadata struct {
			Name         string            `json:"name"`
			GenerateName string            `json:"generateName"`
			Labels       map[string]string `json:"labels"`
			Annotations  map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			ServiceAccountName  string            `json:"serviceAccountName"`
			NodeSelector        map[string]string `json:"nodeSelector"`
			Volumes             []volume          `json:"volumes"`
			InitContainers      []container       `json:"initContainers"`
			Containers          []container       `json:"containers"`
			EphemeralContainers []container       `json:"ephemeralContainers"`
		} `json:"spec"`
	}
	volume struct {
		Name      string `json:"name"`
		Projected *struct {
			Sources []struct {
				ServiceAccountToken *struct {
					Audience string `json:"audience"`
					Path     string `json:"path"`
				} `json:"serviceAccountToken"`
			} `json:"sources"`
		} `json:"projected"`
	}
	container struct {
		Name string `json:"name"`
		Env  []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"env"`
		VolumeMounts []struct {
			Name        string `json:"name"`
			MountPath   string `json:"mountPath"`
			SubPath     string `json:"subPath"`
			SubPathExpr string `json:"subPathExpr"`
		} `json:"volumeMounts"`
		VolumeDevices []struct {
			DevicePath string `json:"devicePath"`
		} `json:"volumeDevices"`
	}
)

func BenchmarkDecoder(b *testing.B) {
	lenient := json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	into := func(unmarshal func([]byte, any) error) func([]byte) error {
		return func(body []byte) error { return unmarshal(body, new(review)) }
	}
	for _, decoder := range []struct {
		name   string
		decode func([]byte) error
	}{
		{"webhook", readByWebhook},
		{"encoding-json", into(stdjson.Unmarshal)},
		{"json-v2", into(func(body []byte, v any) error { return json.Unmarshal(body, v, lenient) })},
		{"jsoniter", into(jsoniter.ConfigCompatibleWithStandardLibrary.Unmarshal)},
		{"sonic", into(sonic.ConfigStd.Unmarshal)},
		{"goccy", into(goccy.Unmarshal)},
		{"jsontext-validation-alone", validated},
	} {
		for _, name := range []string{"small", "cloudwatch-agent", "large"} {
			body, err := os.ReadFile(filepath.Join("..", "testdata", name+".json"))
			if err != nil {
				b.Fatal(err)
			}
			b.Run("decoder="+decoder.name+"/pod="+name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := decoder.decode(body); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func readByWebhook(body []byte) error {
	return jsonreader.Read(body, math.MaxInt, func(r *jsonreader.Reader) {
		for name := range r.Members {
			if string(name) == "request" {
				readObjects(r)
			}
		}
	})
}

func readObjects(r *jsonreader.Reader) {
	for name := range r.Members {
		switch string(name) {
		case "object", "oldObject":
			jsonreader.Pointer(r, (*inject.Pod).Read)
		}
	}
}

func validated(body []byte) error {
	if !jsontext.Value(body).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
		return os.ErrInvalid
	}
	return nil
}
