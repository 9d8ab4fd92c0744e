package configmap

import (
	"log/slog"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/cluster"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// store keeps the mapping that the ConfigMap holds: it is what the reflector
// writes into.
type store struct {
	defaults identity.Defaults
	logger   *slog.Logger
	loads    *prometheus.CounterVec
	// tell is called for a version that cannot be used; it must not block.
	tell func(*corev1.ConfigMap, error)

	current atomic.Pointer[identity.Mapping]
	// seen is the version that was read last: a reflector that lists again shows
	// it again. good says that current is of a version without a fault. They are
	// the reflector's alone.
	seen version
	good bool
	// health is that of the watch that fills the store.
	health *cluster.Health
}

var _ cache.ReflectorStore = (*store)(nil)

// version names a version of a ConfigMap among all that there were.
type version struct {
	uid             types.UID
	resourceVersion string
}

func newStore(config Config, tell func(*corev1.ConfigMap, error)) *store {
	s := &store{
		defaults: config.Defaults,
		logger:   config.Logger,
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_config_map_loads_total",
			Help: "Versions of the ConfigMap of roles, by result: success or error. After an error the last good mapping stays in use, and the ConfigMap's events say what is wrong.",
		}, []string{"result"}),
		tell:   tell,
		health: cluster.NewHealth(),
	}
	config.Metrics.MustRegister(s.loads, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_config_map_entries",
		Help: "Entries of the ConfigMap of roles that are in use. A fall to 0 means that it was emptied or deleted.",
	}, func() float64 { return float64(s.current.Load().Len()) }))
	s.loads.WithLabelValues("success")
	s.loads.WithLabelValues("error")
	return s
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error {
	configMap, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return nil
	}
	shown := version{uid: configMap.UID, resourceVersion: configMap.ResourceVersion}
	if shown == s.seen {
		return nil
	}
	s.seen = shown
	content, ok := configMap.Data[Key]
	if !ok {
		s.use(nil, false)
		s.log(configMap).Info("ConfigMap of roles has no mapping", "key", Key)
		return nil
	}
	mapping, err := identity.ParseMapping([]byte(content), s.defaults)
	if err != nil {
		s.refuse(configMap, mapping, err)
		return nil
	}
	s.use(mapping, true)
	s.loads.WithLabelValues("success").Inc()
	s.log(configMap).Info("ConfigMap of roles loaded", "entries", mapping.Len())
	return nil
}

// use puts a mapping in force, nil for none.
func (s *store) use(mapping *identity.Mapping, good bool) {
	s.current.Store(mapping)
	s.good = good
}

// refuse keeps the last good mapping. As long as there is none, as after a
// start, the usable entries of the bad content are better than nothing.
func (s *store) refuse(configMap *corev1.ConfigMap, usable *identity.Mapping, err error) {
	used := "what was in use before"
	if !s.good && usable.Len() > 0 {
		s.use(usable, false)
		used = "its good entries"
	}
	s.loads.WithLabelValues("error").Inc()
	s.log(configMap).Warn("ConfigMap of roles cannot be used as it is", "used", used, "error", err)
	s.tell(configMap, err)
}

func (s *store) log(configMap *corev1.ConfigMap) *slog.Logger {
	return s.logger.With("namespace", configMap.Namespace, "configMap", configMap.Name, "resourceVersion", configMap.ResourceVersion)
}

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(any) error {
	s.clear()
	return nil
}

// Replace implements cache.ReflectorStore: objects are the ConfigMap, or nothing.
func (s *store) Replace(objects []any, _ string) error {
	if len(objects) == 0 {
		s.clear()
	}
	for _, obj := range objects {
		if err := s.Add(obj); err != nil {
			return err
		}
	}
	s.health.Replaced()
	return nil
}

// clear is for a ConfigMap that does not exist.
func (s *store) clear() {
	s.seen = version{}
	if s.current.Load() != nil {
		s.logger.Info("ConfigMap of roles is gone, and its mapping with it")
	}
	s.use(nil, false)
}

// Resync implements cache.ReflectorStore. There is nothing to repeat.
func (s *store) Resync() error { return nil }
