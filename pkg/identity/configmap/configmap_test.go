package configmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

var app = types.NamespacedName{Namespace: "default", Name: "app"}

const (
	valid         = `{"default/app":{"RoleARN":"good"}}`
	otherValid    = `{"default/app":{"RoleARN":"better"},"*/app":{"RoleARN":"any"}}`
	partlyInvalid = `{"default/app":{"RoleARN":"bad"},"no-slash":{}}`
)

// newSource returns a Source for an API server with this handler, and a function that returns the
// value of a metric.
func newSource(t *testing.T, log io.Writer, handler http.HandlerFunc) (source *Source, metric func(name, result string) float64) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client, err := corev1client.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	source = New(Config{
		Client: client, Namespace: "eks", Name: "pod-identity-webhook",
		Defaults: identity.Defaults{Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		Logger:   slog.New(slog.NewJSONHandler(log, nil)), Metrics: registry,
	})
	return source, func(name, result string) float64 {
		t.Helper()
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, family := range families {
			for _, m := range family.GetMetric() {
				if family.GetName() == name && (result == "" || m.GetLabel()[0].GetValue() == result) {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
		t.Fatalf("no metric %s{%s}", name, result)
		return 0
	}
}

func versionOf(resourceVersion, content string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "eks", Name: "pod-identity-webhook", UID: "the-uid", ResourceVersion: resourceVersion},
		Data:       map[string]string{"config": content},
	}
}

func TestSource_keepsLastValidMapping(t *testing.T) {
	source, metric := newSource(t, io.Discard, nil)
	s := source.store
	for _, step := range []struct {
		name                      string
		do                        func() error
		role                      string
		entries, skipped, decoded int
		event                     bool
	}{
		{"not JSON at the start, no roles", func() error { return s.Replace([]any{versionOf("1", "{")}, "1") }, "", 0, 0, 0, true},
		{"same version again, no second event", func() error { return s.Replace([]any{versionOf("1", "{")}, "1") }, "", 0, 0, 0, false},
		{"invalid key, valid entries apply", func() error { return s.Update(versionOf("2", partlyInvalid)) }, "bad", 1, 1, 1, true},
		{"valid", func() error { return s.Update(versionOf("3", valid)) }, "good", 1, 0, 1, false},
		{"invalid key after a valid version, valid entries apply", func() error { return s.Update(versionOf("4", partlyInvalid)) }, "bad", 1, 1, 1, true},
		{"not JSON, last mapping", func() error { return s.Update(versionOf("5", "{")) }, "bad", 1, 1, 0, true},
		{"null entry, no role", func() error { return s.Update(versionOf("6", `{"default/app":null}`)) }, "", 0, 1, 1, true},
		{"invalid key in a list, valid entries apply", func() error { return s.Replace([]any{versionOf("7", partlyInvalid)}, "7") }, "bad", 1, 1, 1, true},
		{"valid again", func() error { return s.Update(versionOf("8", otherValid)) }, "better", 2, 0, 1, false},
		{"no key config", func() error { return s.Update(&corev1.ConfigMap{ObjectMeta: versionOf("9", "").ObjectMeta}) }, "", 0, 0, 1, true},
		{"not JSON after that, no roles", func() error { return s.Update(versionOf("10", "[]")) }, "", 0, 0, 0, true},
		{"valid after that", func() error { return s.Update(versionOf("11", valid)) }, "good", 1, 0, 1, false},
		{"deleted", func() error { return s.Delete(versionOf("12", valid)) }, "", 0, 0, 1, false},
		{"created again", func() error { return s.Add(versionOf("13", valid)) }, "good", 1, 0, 1, false},
		{"no longer listed", func() error { return s.Replace(nil, "14") }, "", 0, 0, 1, false},
		{"object of another type", func() error { return s.Add(&corev1.Pod{}) }, "", 0, 0, 1, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		role := roleOf(t, source)
		event := false
		select {
		case <-source.invalid:
			event = true
		default:
		}
		gauge := func(name string) int { return int(metric("pod_identity_webhook_config_map_"+name, "")) }
		entries, skipped, decoded := gauge("entries"), gauge("invalid_entries"), gauge("last_load_successful")
		if role != step.role || entries != step.entries || skipped != step.skipped || decoded != step.decoded || event != step.event {
			t.Errorf("%s: got role %q, %d entries, %d invalid, load %d, event %t, want %q, %d, %d, %d, %t",
				step.name, role, entries, skipped, decoded, event, step.role, step.entries, step.skipped, step.decoded, step.event)
		}
	}
	const loads = "pod_identity_webhook_config_map_loads_total"
	if succeeded, failed := metric(loads, "success"), metric(loads, "error"); succeeded != 8 || failed != 3 {
		t.Errorf("got %v loads and %v failures, want 8 and 3", succeeded, failed)
	}
}

// roleOf returns the role that the mapping gives to app, or "".
func roleOf(t *testing.T, source *Source) string {
	t.Helper()
	got, err := source.Lookup(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	if got == nil {
		return ""
	}
	return got.RoleARN
}

// TestStore_randomVersions checks that the role depends only on the newest content that can be
// decoded. It must not depend on earlier content or on how the replica received it.
func TestStore_randomVersions(t *testing.T) {
	roles := map[string]string{
		valid: "good", otherValid: "better", partlyInvalid: "bad", "{}": "", `{"default/app":null}`: "", `{"default/app":{"RoleARN":7}}`: "",
		`{"*/app":{"RoleARN":"any"},"x":1}`: "any", `{"default/app":{"RoleARN":"a"},"default/app":{"RoleARN":"b"}}`: "b",
	}
	contents := slices.Concat(slices.Sorted(maps.Keys(roles)), []string{"", "{", "null", "[]", valid + "x"})
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		source, _ := newSource(t, io.Discard, nil)
		s := source.store
		want := ""
		must(t, s.Replace(nil, "0"))
		for version := range 12 {
			content := contents[random.IntN(len(contents))]
			object := versionOf(strconv.Itoa(version+1), content)
			switch random.IntN(6) {
			case 0:
				must(t, s.Delete(object))
				want = ""
				continue
			case 1:
				must(t, s.Replace(nil, object.ResourceVersion))
				want = ""
				continue
			case 2:
				must(t, s.Replace([]any{object}, object.ResourceVersion))
			default:
				must(t, s.Update(object))
			}
			role, decodes := roles[content]
			if decodes {
				want = role
			}
			if got := roleOf(t, source); got != want {
				t.Fatalf("%s: got role %q, want %q", content, got, want)
			}
			restarted, _ := newSource(t, io.Discard, nil)
			must(t, restarted.store.Replace([]any{object}, object.ResourceVersion))
			if got := roleOf(t, restarted); got != role {
				t.Fatalf("%s: got role %q in a new replica, want %q", content, got, role)
			}
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSource_logsKeyNotValue(t *testing.T) {
	var log bytes.Buffer
	source, _ := newSource(t, &log, nil)
	if err := source.store.Replace([]any{versionOf("41", `{"no-slash":{},"a/b":{"RoleARN":7,"Audience":"secret"},"c/d":{"Audience":"secret"}}`)}, "41"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"namespace":"eks"`, `"configMap":"pod-identity-webhook"`, `"resourceVersion":"41"`, "no-slash", "a/b"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log does not contain %s: %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("log contains a value: %s", log.String())
	}
}

func TestLookup_waitsForSync(t *testing.T) {
	source, _ := newSource(t, io.Discard, nil)
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := source.Lookup(soon, app); !errors.Is(err, errNotSynced) || !errors.Is(err, context.DeadlineExceeded) || source.Synced() == nil {
		t.Errorf("before the list: got %v, and Synced %v", err, source.Synced())
	}

	var waiting sync.WaitGroup
	waiting.Go(func() {
		if got, err := source.Lookup(t.Context(), app); err != nil || got == nil || got.RoleARN != "good" {
			t.Errorf("after the list: got %+v, %v", got, err)
		}
	})
	if err := source.store.Replace([]any{versionOf("1", valid)}, "1"); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	if err := source.Synced(); err != nil {
		t.Errorf("after the list: %v", err)
	}
}

func TestSource_eventsDoNotBlockWatch(t *testing.T) {
	source, _ := newSource(t, io.Discard, nil)
	for _, resourceVersion := range []string{"1", "2", "3"} {
		if err := source.store.Update(versionOf(resourceVersion, partlyInvalid)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-source.invalid; got.configMap.ResourceVersion != "3" {
		t.Errorf("got event for version %s, want the newest", got.configMap.ResourceVersion)
	}
}

func TestSource_oneEventPerVersion(t *testing.T) {
	var events []corev1.Event
	source, _ := newSource(t, io.Discard, func(w http.ResponseWriter, r *http.Request) {
		var event corev1.Event
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil || r.Method != http.MethodPost {
			t.Errorf("%s: %v", r.Method, err)
		}
		events = append(events, event)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusConflict)
		_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"AlreadyExists","code":409}`))
	})
	long := "key \"no-slash\" " + strings.Repeat("é", 5000)
	for _, resourceVersion := range []string{"1", "1", "2"} {
		if err := source.writeEvent(t.Context(), invalidVersion{versionOf(resourceVersion, partlyInvalid), long}); err != nil {
			t.Errorf("event that already exists: %v", err)
		}
	}
	if len(events) != 3 || events[0].Name != events[1].Name || events[0].Name == events[2].Name {
		t.Fatalf("got events %+v, want names that depend on the version", events)
	}
	event := events[0]
	if event.Namespace != "eks" || event.Type != corev1.EventTypeWarning || event.Reason != "InvalidMapping" ||
		event.InvolvedObject.Kind != "ConfigMap" || event.InvolvedObject.UID != "the-uid" || event.InvolvedObject.ResourceVersion != "1" {
		t.Errorf("got %+v", event)
	}
	if len(event.Message) > 1024 || !utf8.ValidString(event.Message) || strings.ContainsRune(event.Message, utf8.RuneError) || !strings.Contains(event.Message, "no-slash") {
		t.Errorf("got message of %d bytes: %q", len(event.Message), event.Message)
	}
}

func TestSource_eventWriteError(t *testing.T) {
	var log signallingBuffer
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	source, _ := newSource(t, &log, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	source.enqueueEvent(versionOf("1", partlyInvalid), "bad")
	log.written = stop
	source.writeEvents(ctx)
	if !strings.Contains(log.String(), "Could not write event") {
		t.Errorf("got log %q", log.String())
	}
}

// signallingBuffer calls written after each line.
type signallingBuffer struct {
	bytes.Buffer
	written func()
}

func (b *signallingBuffer) Write(p []byte) (int, error) {
	defer b.written()
	return b.Buffer.Write(p)
}
