package chartinstall

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Workload is a Deployment and its Service for programs that the chart does not install.
// Its replicas are processes of any program with the webhook's flags, with rolling
// updates. Its methods must not be called concurrently.
type Workload struct {
	loadBalancer *loadBalancer
	replicas     []*Replica
}

// NewWorkload returns a Workload without replicas. log gets a line when a replica gets no
// more connections.
func NewWorkload(ctx context.Context, log io.Writer) (*Workload, error) {
	b, err := newBalancer(ctx, log)
	if err != nil {
		return nil, err
	}
	return &Workload{loadBalancer: b}, nil
}

// Port is the port of the Service, on loopback.
func (w *Workload) Port() int { return w.loadBalancer.port }

// Replicas returns the running replicas.
func (w *Workload) Replicas() []*Replica { return slices.Clone(w.replicas) }

// Template describes the replicas.
type Template struct {
	// Binary is the program's file, and Log the log file of all replicas.
	Binary, Log string
	Replicas    int
	// Health is the path of the readiness probe; empty means /readyz.
	Health string
	// Args are the flags, except those for ports.
	Args []string
}

// Rollout replaces the replicas with replicas of the template. One starts before one
// stops, as with maxSurge 1 and maxUnavailable 0. A new replica is ready and gets
// connections before an old one is removed and stopped. between is called in each
// intermediate state.
func (w *Workload) Rollout(ctx context.Context, template Template, between func() error) error {
	old := w.replicas
	w.replicas = nil
	for n := range max(template.Replicas, len(old)) {
		if n < template.Replicas {
			replica, err := w.start(ctx, template)
			if err != nil {
				w.replicas = append(w.replicas, old...)
				return err
			}
			w.replicas = append(w.replicas, replica)
			w.loadBalancer.serve(slices.Concat(w.replicas, old)...)
			if err := w.loadBalancer.waitAll(ctx); err != nil {
				w.replicas = append(w.replicas, old...)
				return err
			}
		}
		if err := between(); err != nil {
			w.replicas = append(w.replicas, old...)
			return err
		}
		if len(old) > 0 {
			stopped := old[0]
			old = old[1:]
			w.loadBalancer.serve(slices.Concat(w.replicas, old)...)
			if err := w.loadBalancer.waitAll(ctx); err != nil {
				return err
			}
			if err := stopped.process.Stop(ctx); err != nil {
				return err
			}
			if err := between(); err != nil {
				w.replicas = append(w.replicas, old...)
				return err
			}
		}
	}
	return nil
}

func (w *Workload) start(ctx context.Context, template Template) (*Replica, error) {
	replica, err := newReplica(ctx, template.Binary, template.Log)
	if err != nil {
		return nil, err
	}
	if template.Health != "" {
		replica.health = template.Health
	}
	replica.args = append(slices.Clone(template.Args),
		"--port="+strconv.Itoa(replica.port), "--metrics-port="+strconv.Itoa(replica.metricsPort))
	if err := replica.Start(); err != nil {
		return nil, err
	}
	if err := replica.WaitReady(ctx); err != nil {
		replica.Kill()
		return nil, fmt.Errorf("start a replica: %w", err)
	}
	return replica, nil
}

// Close kills all replicas and closes the Service.
func (w *Workload) Close() {
	for _, replica := range w.replicas {
		replica.Kill()
	}
	w.loadBalancer.close()
}
