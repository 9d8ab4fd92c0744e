package configmap

import (
	"fmt"
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// store holds the mapping in the ConfigMap. The reflector writes to it.
type store struct {
	defaults identity.Defaults
	logger   *slog.Logger
	loads    *prometheus.CounterVec
	// loaded is 1 if the newest content could be decoded. skipped is the number of invalid
	// entries of the mapping in use.
	loaded, skipped prometheus.Gauge
	// enqueueEvent is called with the error of an invalid version. It must not block.
	enqueueEvent func(*corev1.ConfigMap, string)

	current atomic.Pointer[identity.Mapping]
	// seen is the last version. A reflector that lists again adds the same version again.
	// Only the reflector uses this field.
	seen version
	// health is the health of the watch.
	health *objectcache.Health
}

var _ cache.ReflectorStore = (*store)(nil)

// version identifies a version of a ConfigMap.
type version struct {
	uid             types.UID
	resourceVersion string
}

func newStore(config Config, enqueueEvent func(*corev1.ConfigMap, string)) *store {
	s := &store{
		defaults: config.Defaults,
		logger:   config.Logger,
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_config_map_loads_total",
			Help: "Versions of the ConfigMap of roles, by result: success, also if invalid entries were skipped, or error if the content could not be decoded.",
		}, []string{"result"}),
		loaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_config_map_last_load_successful",
			Help: "1 if the content of the ConfigMap of roles could be decoded, 0 if not. At 0, replicas keep the last mapping that they decoded, and a replica that has decoded none maps no ServiceAccounts.",
		}),
		skipped: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_config_map_invalid_entries",
			Help: "Entries of the ConfigMap of roles that are skipped because they are invalid or repeated. The events of the ConfigMap name them.",
		}),
		enqueueEvent: enqueueEvent,
		health:       objectcache.NewHealth(),
	}
	config.Metrics.MustRegister(s.loads, s.loaded, s.skipped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_config_map_entries",
		Help: "Entries of the ConfigMap of roles that are in use. A fall to 0 means that it was emptied or deleted.",
	}, func() float64 { return float64(s.current.Load().Len()) }))
	s.loads.WithLabelValues("success")
	s.loads.WithLabelValues("error")
	s.loaded.Set(1)
	return s
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error {
	configMap, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return nil
	}
	current := version{uid: configMap.UID, resourceVersion: configMap.ResourceVersion}
	if current == s.seen {
		return nil
	}
	s.seen = current
	logger := s.logger.With("namespace", configMap.Namespace, "configMap", configMap.Name, "resourceVersion", configMap.ResourceVersion)
	content, ok := configMap.Data[Key]
	if !ok {
		s.setMapping(nil, nil)
		logger.Warn("ConfigMap of roles has no mapping, so it gives no roles", "key", Key)
		s.enqueueEvent(configMap, fmt.Sprintf("The ConfigMap has no key %q, so it gives no roles.", Key))
		return nil
	}
	mapping, skipped, err := identity.ParseMapping([]byte(content), s.defaults)
	if err != nil {
		s.loaded.Set(0)
		s.loads.WithLabelValues("error").Inc()
		logger.Warn("Could not decode ConfigMap of roles, keeping the last mapping", "entries", s.current.Load().Len(), "error", err)
		s.enqueueEvent(configMap, fmt.Sprintf("Could not decode %s: %v. Replicas keep the last mapping that they decoded; a replica that has decoded none gives no roles.", Key, err))
		return nil
	}
	s.setMapping(mapping, skipped)
	s.loads.WithLabelValues("success").Inc()
	if len(skipped) > 0 {
		logger.Warn("Skipped invalid entries of ConfigMap of roles", "entries", mapping.Len(), "skipped", len(skipped), "invalid", skipped.String())
		s.enqueueEvent(configMap, fmt.Sprintf("Skipped %d invalid entries, the other %d are in use: %s", len(skipped), mapping.Len(), skipped))
		return nil
	}
	logger.Info("ConfigMap of roles loaded", "entries", mapping.Len())
	return nil
}

// setMapping replaces the mapping. nil means no mapping.
func (s *store) setMapping(mapping *identity.Mapping, skipped identity.EntryErrors) {
	s.current.Store(mapping)
	s.skipped.Set(float64(len(skipped)))
	s.loaded.Set(1)
}

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(any) error {
	s.reset()
	return nil
}

// Replace implements cache.ReflectorStore. objects contains the ConfigMap, or is empty.
func (s *store) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		s.reset()
	}
	for _, obj := range objects {
		if err := s.Add(obj); err != nil {
			return err
		}
	}
	s.health.Replaced()
	return nil
}

// reset removes the mapping, because the ConfigMap does not exist.
func (s *store) reset() {
	s.seen = version{}
	if s.current.Load() != nil {
		s.logger.Info("ConfigMap of roles was deleted, so it gives no roles")
	}
	s.setMapping(nil, nil)
}

// Resync implements cache.ReflectorStore. It does nothing.
func (s *store) Resync() error { return nil }
