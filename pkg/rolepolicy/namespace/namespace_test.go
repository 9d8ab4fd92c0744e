package namespace

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

const (
	annotation = "eks.amazonaws.com/permitted-roles"
	appRole    = "arn:aws:iam::111122223333:role/app"
)

// policiesAgainst returns Policies whose API server gives one answer, and a count
// of how often it was asked.
func policiesAgainst(t *testing.T, status int, body string) (*Policies, *int) {
	t.Helper()
	asked := new(int)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		*asked++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	client, err := corev1client.NewForConfig(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{
		Client: client, Prefix: "eks.amazonaws.com", Mode: rolepolicy.On,
		Metrics: prometheus.NewRegistry(), ReadTimeout: 300 * time.Millisecond,
	}), asked
}

func namespaceWith(annotations map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a", Annotations: annotations}}
}

func denied(err error) bool {
	_, ok := errors.AsType[*rolepolicy.DeniedError](err)
	return ok
}

func TestAKnownPolicyIsAnsweredWithoutARead(t *testing.T) {
	p, asked := policiesAgainst(t, http.StatusInternalServerError, "{}")
	if err := p.store.Add(namespaceWith(map[string]string{annotation: "app"})); err != nil {
		t.Fatal(err)
	}
	if err := p.Permitted(t.Context(), "team-a", appRole); err != nil {
		t.Error(err)
	}
	if err := p.Permitted(t.Context(), "team-a", appRole+"2"); !denied(err) {
		t.Errorf("got %v", err)
	}
	if *asked != 0 {
		t.Errorf("the API server was asked %d times", *asked)
	}
}

func TestTheFirstPolicyOfANamespaceHoldsAtOnce(t *testing.T) {
	p, _ := policiesAgainst(t, http.StatusOK, `{"kind":"Namespace","apiVersion":"v1","metadata":{"annotations":{"`+annotation+`":"other"}}}`)
	if err := p.Permitted(t.Context(), "team-a", appRole); !denied(err) {
		t.Errorf("got %v", err)
	}
}

func TestWhatCannotBeKnownIsNoDenial(t *testing.T) {
	p, _ := policiesAgainst(t, http.StatusInternalServerError, "{}")
	if err := p.Permitted(t.Context(), "team-a", appRole); err == nil || denied(err) {
		t.Errorf("got %v", err)
	}
}

func TestOnlyNamespacesWithAPolicyAreKeptAndOnlyTheirPolicy(t *testing.T) {
	p, _ := policiesAgainst(t, http.StatusOK, "{}")
	for _, annotations := range []map[string]string{nil, {"other": "x"}} {
		if err := p.store.Replace([]any{namespaceWith(annotations)}, "1"); err != nil {
			t.Fatal(err)
		}
		if got := p.store.Len(); got != 0 {
			t.Errorf("%v: %d kept", annotations, got)
		}
	}
	whole := namespaceWith(map[string]string{"other": "x", annotation: "app", "iam.amazonaws.com/permitted": ".*"})
	stripped, err := p.store.Transformer()(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.store.Replace([]any{stripped}, "2"); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.store.Get(types.NamespacedName{Name: "team-a"}); len(got) != 2 {
		t.Errorf("kept %v", got)
	}
	if err := p.Synced(); err != nil {
		t.Error(err)
	}
}
