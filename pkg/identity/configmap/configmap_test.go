package configmap

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
	good   = `{"default/app":{"RoleARN":"good"}}`
	better = `{"default/app":{"RoleARN":"better"},"*/app":{"RoleARN":"any"}}`
	bad    = `{"default/app":{"RoleARN":"bad"},"no-slash":{}}`
)

// newSource returns a Source whose API server answers with answer, and a
// function that returns the value of a metric.
func newSource(t *testing.T, log io.Writer, answer http.HandlerFunc) (source *Source, metric func(name, result string) float64) {
	t.Helper()
	server := httptest.NewServer(answer)
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

func TestTheMappingFollowsTheConfigMapAndOutlivesBadContent(t *testing.T) {
	source, metric := newSource(t, io.Discard, nil)
	s := source.store
	for _, step := range []struct {
		name    string
		do      func() error
		role    string
		entries int
		told    bool
	}{
		{"bad from the start: its good entries", func() error { return s.Replace([]any{versionOf("1", bad)}, "1") }, "bad", 1, true},
		{"the same version is listed again: told once", func() error { return s.Replace([]any{versionOf("1", bad)}, "1") }, "bad", 1, false},
		{"good", func() error { return s.Update(versionOf("2", good)) }, "good", 1, false},
		{"a bad key: the last good one stays", func() error { return s.Update(versionOf("3", bad)) }, "good", 1, true},
		{"no JSON: the last good one stays", func() error { return s.Update(versionOf("4", "{")) }, "good", 1, true},
		{"a null entry: the last good one stays", func() error { return s.Update(versionOf("5", `{"default/app":null}`)) }, "good", 1, true},
		{"bad when listed again: the last good one stays", func() error { return s.Replace([]any{versionOf("6", bad)}, "6") }, "good", 1, true},
		{"good again", func() error { return s.Update(versionOf("7", better)) }, "better", 2, false},
		{"without its key", func() error { return s.Update(&corev1.ConfigMap{ObjectMeta: versionOf("8", "").ObjectMeta}) }, "", 0, false},
		{"with it", func() error { return s.Update(versionOf("9", good)) }, "good", 1, false},
		{"deleted", func() error { return s.Delete(versionOf("10", good)) }, "", 0, false},
		{"created again", func() error { return s.Add(versionOf("11", good)) }, "good", 1, false},
		{"no longer listed", func() error { return s.Replace(nil, "12") }, "", 0, false},
		{"something else arrives", func() error { return s.Add(&corev1.Pod{}) }, "", 0, false},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		got, err := source.Lookup(t.Context(), app)
		if err != nil {
			t.Fatal(err)
		}
		role := ""
		if got != nil {
			role = got.RoleARN
		}
		told := false
		select {
		case <-source.faults:
			told = true
		default:
		}
		entries := int(metric("pod_identity_webhook_config_map_entries", ""))
		if role != step.role || entries != step.entries || told != step.told {
			t.Errorf("%s: role %q, %d entries, told %t; want %q, %d, %t", step.name, role, entries, told, step.role, step.entries, step.told)
		}
	}
	const loads = "pod_identity_webhook_config_map_loads_total"
	if succeeded, failed := metric(loads, "success"), metric(loads, "error"); succeeded != 4 || failed != 5 {
		t.Errorf("%v loads and %v failures are counted, want 4 and 5", succeeded, failed)
	}
}

func TestUntilAVersionIsGoodTheGoodEntriesOfBadOnesAreUsed(t *testing.T) {
	source, _ := newSource(t, io.Discard, nil)
	s := source.store
	worse := `{"default/app":{"RoleARN":"worse"},"null":null}`
	for _, step := range []struct {
		name, role string
		do         func() error
	}{
		{"no JSON: nothing", "", func() error { return s.Replace([]any{versionOf("1", "{")}, "1") }},
		{"a bad key: the good entries", "bad", func() error { return s.Update(versionOf("2", bad)) }},
		{"another bad key: the good entries of the newer version", "worse", func() error { return s.Update(versionOf("3", worse)) }},
		{"no JSON again: what there was", "worse", func() error { return s.Update(versionOf("4", "{")) }},
		{"good, but empty", "", func() error { return s.Update(versionOf("5", "{}")) }},
		{"a bad key after a good version: the good one stays, even empty", "", func() error { return s.Update(versionOf("6", bad)) }},
		{"deleted", "", func() error { return s.Delete(versionOf("7", bad)) }},
		{"created anew with a bad key: the good entries", "bad", func() error { return s.Add(versionOf("8", bad)) }},
		{"good", "good", func() error { return s.Update(versionOf("9", good)) }},
		{"without its key", "", func() error { return s.Update(&corev1.ConfigMap{ObjectMeta: versionOf("10", "").ObjectMeta}) }},
		{"with it and a bad key: the good entries", "bad", func() error { return s.Update(versionOf("11", bad)) }},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		role := ""
		if got, err := source.Lookup(t.Context(), app); err != nil {
			t.Fatal(err)
		} else if got != nil {
			role = got.RoleARN
		}
		if role != step.role {
			t.Errorf("%s: role %q, want %q", step.name, role, step.role)
		}
	}
}

func TestTheLogNamesTheBadKeyAndNoValue(t *testing.T) {
	var log bytes.Buffer
	source, _ := newSource(t, &log, nil)
	if err := source.store.Replace([]any{versionOf("41", `{"no-slash":{},"a/b":{"RoleARN":7,"Audience":"secret"},"c/d":{"Audience":"secret"}}`)}, "41"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"namespace":"eks"`, `"configMap":"pod-identity-webhook"`, `"resourceVersion":"41"`, "no-slash", "a/b"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in the log: %s", want, log.String())
		}
	}
	if strings.Contains(log.String(), "secret") {
		t.Errorf("a value is in the log: %s", log.String())
	}
}

func TestLookupWaitsUntilTheConfigMapIsKnown(t *testing.T) {
	source, _ := newSource(t, io.Discard, nil)
	soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := source.Lookup(soon, app); !errors.Is(err, errNotSynced) || !errors.Is(err, context.DeadlineExceeded) || source.Synced() == nil {
		t.Errorf("before: got %v, and Synced %v", err, source.Synced())
	}

	var waiting sync.WaitGroup
	waiting.Go(func() {
		if got, err := source.Lookup(t.Context(), app); err != nil || got == nil || got.RoleARN != "good" {
			t.Errorf("after: got %+v, %v", got, err)
		}
	})
	if err := source.store.Replace([]any{versionOf("1", good)}, "1"); err != nil {
		t.Fatal(err)
	}
	waiting.Wait()
	if err := source.Synced(); err != nil {
		t.Errorf("after: %v", err)
	}
}

func TestTheWatchNeverWaitsForAnEvent(t *testing.T) {
	source, _ := newSource(t, io.Discard, nil)
	for _, resourceVersion := range []string{"1", "2", "3"} {
		if err := source.store.Update(versionOf(resourceVersion, bad)); err != nil {
			t.Fatal(err)
		}
	}
	if got := <-source.faults; got.configMap.ResourceVersion != "3" {
		t.Errorf("version %s is told of, want the newest", got.configMap.ResourceVersion)
	}
}

func TestABadVersionHasOneEventWhateverTheNumberOfReplicas(t *testing.T) {
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
	long := errors.New("key \"no-slash\" " + strings.Repeat("é", 5000))
	for _, resourceVersion := range []string{"1", "1", "2"} {
		if err := source.writeEvent(t.Context(), fault{versionOf(resourceVersion, bad), long}); err != nil {
			t.Errorf("an event that is there already: %v", err)
		}
	}
	if len(events) != 3 || events[0].Name != events[1].Name || events[0].Name == events[2].Name {
		t.Fatalf("the events' names do not follow from the version: %+v", events)
	}
	event := events[0]
	if event.Namespace != "eks" || event.Type != corev1.EventTypeWarning || event.Reason != "InvalidMapping" ||
		event.InvolvedObject.Kind != "ConfigMap" || event.InvolvedObject.UID != "the-uid" || event.InvolvedObject.ResourceVersion != "1" {
		t.Errorf("got %+v", event)
	}
	if len(event.Message) > 1024 || !utf8.ValidString(event.Message) || strings.ContainsRune(event.Message, utf8.RuneError) || !strings.Contains(event.Message, "no-slash") {
		t.Errorf("message of %d bytes: %q", len(event.Message), event.Message)
	}
}

func TestAnEventThatCannotBeWrittenIsLogged(t *testing.T) {
	var log signallingBuffer
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	source, _ := newSource(t, &log, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) })
	source.tell(versionOf("1", bad), errors.New("bad"))
	log.written = stop
	source.writeEvents(ctx)
	if !strings.Contains(log.String(), "could not be told as an event") {
		t.Errorf("the log is %q", log.String())
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
