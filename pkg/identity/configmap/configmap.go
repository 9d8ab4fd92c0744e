// Package configmap owns the mapping of ServiceAccounts to roles that is written
// in a ConfigMap: it watches that one ConfigMap and no other. The mapping is a
// function of the content alone: invalid entries are skipped, and the others apply.
// Only content that cannot be decoded leaves the last mapping in force.
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

// Key is that of the mapping in the ConfigMap's data.
const Key = "config"

// errNotSynced is returned while nothing is known yet.
var errNotSynced = errors.New("the ConfigMap of roles is not known yet")

// Config is what a Source needs.
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

// Source answers with what the ConfigMap says. Run must be running.
type Source struct {
	config Config
	store  *store
	watch  func(context.Context)
	// faults is the newest version of the ConfigMap that has a fault and no event.
	faults chan invalidVersion
}

// invalidVersion is what is wrong with a version of the ConfigMap.
type invalidVersion struct {
	configMap *corev1.ConfigMap
	message   string
}

// New returns a Source that knows nothing until Run is called.
func New(config Config) *Source {
	s := &Source{config: config, faults: make(chan invalidVersion, 1)}
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

// Run watches until ctx is done.
func (s *Source) Run(ctx context.Context) {
	var events sync.WaitGroup
	events.Go(func() { s.writeEvents(ctx) })
	s.watch(ctx)
	events.Wait()
}

// Synced returns nil once it is known what is in the ConfigMap, or that there is
// none.
func (s *Source) Synced() error {
	if !s.store.health.SyncSignal() {
		return errNotSynced
	}
	return nil
}

// Lookup returns what the mapping says of a ServiceAccount, nil for nothing. It
// waits until the ConfigMap is known, and is an error if ctx is done before.
func (s *Source) Lookup(ctx context.Context, name types.NamespacedName) (*identity.Identity, error) {
	select {
	case <-s.store.health.Done():
		return s.store.current.Load().Identity(name), nil
	case <-ctx.Done():
		return nil, fmt.Errorf("look up ServiceAccount %s: %w: %w", name, errNotSynced, ctx.Err())
	}
}

// enqueueEvent has an event written, without waiting for it: a watch must not wait. Of
// several versions that come faster than events can be written the last is told.
// Only the reflector calls it.
func (s *Source) enqueueEvent(configMap *corev1.ConfigMap, message string) {
	for {
		select {
		case s.faults <- invalidVersion{configMap, message}:
			return
		default:
		}
		select {
		case <-s.faults:
		default:
		}
	}
}

func (s *Source) writeEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-s.faults:
			if err := s.writeEvent(ctx, f); err != nil {
				s.config.Logger.WarnContext(ctx, "Could not write event for ConfigMap of roles",
					"namespace", s.config.Namespace, "configMap", s.config.Name, "error", err)
			}
		}
	}
}

const (
	eventTimeout = 10 * time.Second
	// maxEventMessage is the API server's limit, in bytes (NoteLengthLimit in
	// k8s.io/kubernetes/pkg/apis/core/validation).
	maxEventMessage = 1024
)

// writeEvent writes one event for a version of the ConfigMap with a fault, whatever
// the number of replicas: its name follows from the version.
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
		// A cut may go through a character.
		Message:        strings.ToValidUTF8(f.message[:min(len(f.message), maxEventMessage)], ""),
		Source:         corev1.EventSource{Component: "pod-identity-webhook"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}
