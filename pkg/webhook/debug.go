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

// Identities returns those that are known from annotations now.
type Identities func() map[types.NamespacedName]*identity.Identity

// NewDebug returns the handlers under /debug: the identities known now, and Go's
// profiles.
func NewDebug(identities Identities) http.Handler {
	router := chi.NewRouter()
	list := listIdentities(identities)
	router.Get("/identities", list)
	router.Get("/alpha/cache", list) // where the reference has it
	router.Get("/pprof/cmdline", pprof.Cmdline)
	router.Get("/pprof/profile", pprof.Profile)
	router.Get("/pprof/symbol", pprof.Symbol)
	router.Get("/pprof/trace", pprof.Trace)
	router.Get("/pprof/*", pprof.Index)
	return requireLoopback(router)
}

// requireLoopback keeps a port that others scrape from telling them more.
// kubectl port-forward connects from the pod itself.
func requireLoopback(next http.Handler) http.Handler {
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

// cachedIdentity is an identity in the words of the reference, and what is ours.
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
