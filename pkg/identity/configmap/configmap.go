// Package configmap loads the mapping of ServiceAccounts to roles from a ConfigMap, which it
// watches. Only the content of the ConfigMap determines the mapping: invalid entries are skipped,
// and the others apply. If the content cannot be decoded, the last mapping stays in use.
package configmap

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/objectcache"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// Key is the key of the mapping in the ConfigMap's data.
const Key = "config"

// errNotSynced is the error until the ConfigMap has been read.
var errNotSynced = errors.New("ConfigMap of roles not read yet")

// Config is the configuration of a Source.
type Config struct {
	Client interface {
		corev1client.ConfigMapsGetter
		corev1client.EventsGetter
	}
	Namespace, Name string
	Defaults        identity.Defaults
	Logger          *slog.Logger
	Metrics         prometheus.Registerer
}

// Source returns identities in the mapping of the ConfigMap. Run must be running.
type Source struct {
	config Config
	store  *store
	watch  func(context.Context)
	// invalid holds the newest invalid version of the ConfigMap that has no event yet.
	invalid chan invalidVersion
}

// invalidVersion is a version of the ConfigMap with an error.
type invalidVersion struct {
	configMap *corev1.ConfigMap
	message   string
}

// New returns a Source that has no mapping until Run is called.
func New(config Config) *Source {
	s := &Source{config: config, invalid: make(chan invalidVersion, 1)}
	s.store = newStore(config, s.enqueueEvent)
	failures := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "pod_identity_webhook_config_map_watch_failures_total",
		Help: "Failed attempts to list or watch the ConfigMap of roles. While they fail, the last content stays in use.",
	})
	config.Metrics.MustRegister(failures)
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, config.Name).String()
	s.watch = objectcache.Watch(objectcache.WatchConfig[*corev1.ConfigMapList]{
		Name:          "configmaps",
		Expected:      &corev1.ConfigMap{},
		Client:        config.Client.ConfigMaps(config.Namespace),
		FieldSelector: only,
		Store:         s.store,
		Health:        s.store.health,
		Failures:      failures,
		Metrics:       config.Metrics,
		Logger:        config.Logger,
	})
	return s
}

// Run watches the ConfigMap and writes events until ctx is done.
func (s *Source) Run(ctx context.Context) {
	var events sync.WaitGroup
	events.Go(func() { s.writeEvents(ctx) })
	s.watch(ctx)
	events.Wait()
}

// Synced returns nil if the ConfigMap has been read or does not exist, and an error otherwise.
func (s *Source) Synced() error {
	if !s.store.health.SyncSignal() {
		return errNotSynced
	}
	return nil
}

// Lookup returns the identity of a ServiceAccount in the mapping, or nil if there is none. It waits
// until the ConfigMap has been read, and returns an error if ctx is done before that.
func (s *Source) Lookup(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	select {
	case <-s.store.health.Done():
		return s.store.current.Load().Identity(name), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("look up ServiceAccount %s: %w: %w", name, errNotSynced, ctx.Err())
	}
}

// enqueueEvent adds an event to the queue and never blocks, because the watch must not wait. The
// queue has one place. A newer version replaces an older one whose event is not written yet. Only
// the reflector calls enqueueEvent.
func (s *Source) enqueueEvent(configMap *corev1.ConfigMap, message string) {
	for {
		select {
		case s.invalid <- invalidVersion{configMap, message}:
			return
		default:
		}
		select {
		case <-s.invalid:
		default:
		}
	}
}

// writeEvents writes the queued events until ctx is done.
func (s *Source) writeEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-s.invalid:
			if err := s.writeEvent(ctx, f); err != nil {
				s.config.Logger.WarnContext(ctx, "Could not write event for ConfigMap of roles",
					"namespace", s.config.Namespace, "configMap", s.config.Name, "error", err)
			}
		}
	}
}

const (
	eventTimeout = 10 * time.Second
	// maxEventMessage is the limit of the API server, in bytes (NoteLengthLimit in
	// k8s.io/kubernetes/pkg/apis/core/validation).
	maxEventMessage = 1024
)

// writeEvent writes an event for an invalid version of the ConfigMap. The name of the event depends
// only on the version, so all replicas together create one event.
func (s *Source) writeEvent(ctx context.Context, f invalidVersion) error {
	ctx, cancel := context.WithTimeout(ctx, eventTimeout)
	defer cancel()
	version := sha256.Sum256([]byte(string(f.configMap.UID) + "/" + f.configMap.ResourceVersion))
	now := metav1.Now()
	_, err := s.config.Client.Events(f.configMap.Namespace).Create(ctx, &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.configMap.Namespace,
			Name:      f.configMap.Name + "." + hex.EncodeToString(version[:8]),
		},
		InvolvedObject: corev1.ObjectReference{
			APIVersion: "v1", Kind: "ConfigMap", Namespace: f.configMap.Namespace, Name: f.configMap.Name,
			UID: f.configMap.UID, ResourceVersion: f.configMap.ResourceVersion,
		},
		Type: corev1.EventTypeWarning, Reason: "InvalidMapping",
		// The message can be cut within a character.
		Message:        strings.ToValidUTF8(f.message[:min(len(f.message), maxEventMessage)], ""),
		Source:         corev1.EventSource{Component: "pod-identity-webhook"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
