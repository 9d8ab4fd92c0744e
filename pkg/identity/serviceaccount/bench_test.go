package serviceaccount

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
)

// BenchmarkResolve measures the lookup of a role in the cache, with few and with many entries. It
// does not read from the API server.
func BenchmarkResolve(b *testing.B) {
	for _, roles := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("roles=%d", roles), func(b *testing.B) {
			client, err := corev1client.NewForConfig(&rest.Config{Host: "http://127.0.0.1"})
			if err != nil {
				b.Fatal(err)
			}
			resolver := New(Config{Client: client, Defaults: defaults, Lookup: objectcache.Cached, Metrics: prometheus.NewRegistry()})
			listed := []any{account(app.Name, appRole)}
			for n := 1; n < roles; n++ {
				listed = append(listed, account(fmt.Sprintf("%s-%d", app.Name, n), appRole))
			}
			if err := resolver.store.Replace(listed, "1"); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := resolver.Resolve(b.Context(), app); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
