package webhook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"

	"github.com/go-chi/chi/v5"
	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/skim"
)

// Identities returns those that are known from annotations now.
type Identities func() map[types.NamespacedName]*identity.Identity

// NewDebug returns the handlers under /debug: the identities known now, what
// would happen to a pod, and Go's profiles.
func NewDebug(mutator *Mutator, identities Identities) http.Handler {
	router := chi.NewRouter()
	list := listIdentities(identities)
	router.Get("/identities", list)
	router.Get("/alpha/cache", list) // where the reference has it
	router.Post("/explain", mutator.explain)
	router.Get("/pprof/cmdline", pprof.Cmdline)
	router.Get("/pprof/profile", pprof.Profile)
	router.Get("/pprof/symbol", pprof.Symbol)
	router.Get("/pprof/trace", pprof.Trace)
	router.Get("/pprof/*", pprof.Index)
	return router
}

// onlyFromThisMachine keeps a port that others scrape from telling them more.
// kubectl port-forward connects from the pod itself.
func onlyFromThisMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "pod-identity-webhook: /debug answers this machine only, use kubectl port-forward", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// RefuseDebug returns the handler under /debug for a pod with hostNetwork, where a
// request from this machine may come from any process of the node.
func RefuseDebug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "pod-identity-webhook: /debug is refused in a pod with hostNetwork, because each process of the node is a local client", http.StatusForbidden)
	})
}

// knownIdentity is an identity in the words of the reference, and what is ours.
type knownIdentity struct {
	RoleARN         string
	Audience        string
	UseRegionalSTS  bool
	TokenExpiration int64
	SessionName     string   `json:",omitempty"`
	STSEndpoint     string   `json:",omitempty"`
	TargetRoleARN   string   `json:",omitempty"`
	Problems        []string `json:",omitempty"`
}

func known(id *identity.Identity) knownIdentity {
	k := knownIdentity{
		RoleARN: id.RoleARN, Audience: id.Audience, UseRegionalSTS: id.RegionalSTS, TokenExpiration: id.ExpirationSeconds,
		SessionName: id.SessionName, STSEndpoint: id.STSEndpoint, TargetRoleARN: id.TargetRoleARN,
	}
	for _, problem := range id.Problems {
		k.Problems = append(k.Problems, problem.String())
	}
	return k
}

func listIdentities(identities Identities) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		all := map[string]knownIdentity{}
		for name, id := range identities() {
			all[name.String()] = known(id)
		}
		writeJSON(w, all)
	}
}

// explanation says what would happen to a pod.
type explanation struct {
	Method   identity.Method `json:"method,omitempty"`
	Identity *knownIdentity  `json:"identity,omitempty"`
	Result   inject.Result   `json:"result"`
	Patch    json.RawMessage `json:"patch,omitempty"`
	Error    string          `json:"error,omitempty"`
}

// maxPodBytes bounds a pod to explain, as the API server bounds one to create.
const maxPodBytes = 3 << 20

// explain takes a pod, as YAML or JSON, whose namespace is its own or that of
// the query, and answers with what would happen if it were created now.
func (m *Mutator) explain(w http.ResponseWriter, r *http.Request) {
	pod, namespace, err := readPod(w, r)
	if err != nil {
		http.Error(w, "pod-identity-webhook: "+err.Error(), http.StatusBadRequest)
		return
	}
	id, result, err := m.Decide(r.Context(), &Request[inject.Pod]{
		Namespace: namespace, Operation: admissionv1.Create, Object: pod,
	})
	told := explanation{Result: result, Patch: result.Patch}
	if id != nil {
		told.Method, told.Identity = id.Method, new(known(id))
	}
	if err != nil {
		told.Error = err.Error()
	}
	writeJSON(w, told)
}

func readPod(w http.ResponseWriter, r *http.Request) (*inject.Pod, string, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPodBytes))
	if err != nil {
		return nil, "", fmt.Errorf("read body: %w", err)
	}
	document, err := yaml.YAMLToJSON(body)
	if err != nil {
		return nil, "", errors.New("the body is no YAML") // the error may quote it
	}
	pod, namespace, err := DecodePod(document)
	if err != nil {
		return nil, "", fmt.Errorf("the body is no pod, send one: %w", err)
	}
	if given := r.URL.Query().Get("namespace"); given != "" {
		namespace = given
	}
	if namespace == "" {
		namespace = "default"
	}
	return pod, namespace, nil
}

// DecodePod reads a pod, in JSON, as its user writes it, and its namespace, which
// may be empty. The ServiceAccount is as the API server would have it. An error
// never quotes a value.
func DecodePod(document []byte) (*inject.Pod, string, error) {
	pod, err := inject.ReadPod(document)
	if err != nil {
		return nil, "", err
	}
	var written writtenPod
	if err := skim.Read(document, 0, written.read); err != nil {
		return nil, "", err
	}
	if written.kind != "Pod" {
		return nil, "", fmt.Errorf("its kind is %q, not Pod", written.kind)
	}
	pod.Spec.ServiceAccountName = cmp.Or(pod.Spec.ServiceAccountName, written.serviceAccount, "default")
	return pod, written.namespace, nil
}

// writtenPod is what the API server takes from a pod, or fills in, before it asks
// a webhook.
type writtenPod struct {
	kind, namespace string
	// serviceAccount is the older name of serviceAccountName.
	serviceAccount string
}

func (p *writtenPod) read(r *skim.Reader) {
	for o := r.Object(); o.Next(); {
		switch string(o.Name()) {
		case "kind":
			p.kind = r.Text()
		case "metadata":
			p.namespace = readMember(r, "namespace")
		case "spec":
			p.serviceAccount = readMember(r, "serviceAccount")
		}
	}
}

// readMember reads one text of an object.
func readMember(r *skim.Reader, name string) (text string) {
	for o := r.Object(); o.Next(); {
		if string(o.Name()) == name {
			text = r.Text()
		}
	}
	return text
}

func writeJSON(w http.ResponseWriter, value any) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		http.Error(w, "pod-identity-webhook: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes())
}
