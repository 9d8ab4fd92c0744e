package webhook

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/pprof"

	"github.com/go-chi/chi/v5"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Identities returns the cached identities of ServiceAccounts with annotations.
type Identities func() map[types.NamespacedName]*identity.Identity

// NewDebug returns the handler of /debug. It serves the cached identities and Go's
// profiles, to loopback clients only.
func NewDebug(identities Identities) http.Handler {
	router := chi.NewRouter()
	list := listIdentities(identities)
	router.Get("/identities", list)
	router.Get("/alpha/cache", list) // the path in amazon-eks-pod-identity-webhook
	router.Get("/pprof/cmdline", pprof.Cmdline)
	router.Get("/pprof/profile", pprof.Profile)
	router.Get("/pprof/symbol", pprof.Symbol)
	router.Get("/pprof/trace", pprof.Trace)
	router.Get("/pprof/*", pprof.Index)
	return requireLoopback(router)
}

// requireLoopback rejects requests that are not from loopback, because other clients can
// connect to the metrics port. kubectl port-forward connects from inside the pod.
func requireLoopback(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			http.Error(w, "pod-identity-webhook: /debug accepts only loopback clients, use kubectl port-forward", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// RefuseDebug returns the handler of /debug for a pod with hostNetwork. It rejects all
// requests, because any process of the node can connect from loopback.
func RefuseDebug() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "pod-identity-webhook: /debug is disabled in a pod with hostNetwork, because each process of the node is a local client", http.StatusForbidden)
	})
}

// cachedIdentity is an identity with the field names of amazon-eks-pod-identity-webhook,
// and with additional fields.
type cachedIdentity struct {
	RoleARN         string
	Audience        string
	UseRegionalSTS  bool
	TokenExpiration int64
	SessionName     string   `json:",omitempty"`
	STSEndpoint     string   `json:",omitempty"`
	TargetRoleARN   string   `json:",omitempty"`
	Problems        []string `json:",omitempty"`
}

func known(id *identity.Identity) cachedIdentity {
	k := cachedIdentity{
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
		all := map[string]cachedIdentity{}
		for name, id := range identities() {
			all[name.String()] = known(id)
		}
		writeJSON(w, all)
	}
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
