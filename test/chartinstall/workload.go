package chartinstall

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
)

// Workload is a Deployment and its Service, for what the chart does not install:
// replicas of any program that has the flags of the webhook, which replace each
// other as a rolling update does it. Its methods may not be called concurrently.
type Workload struct {
	loadBalancer *loadBalancer
	replicas     []*Replica
}

// NewWorkload returns a Workload without replicas. log is told when a replica is
// taken out of service.
func NewWorkload(ctx context.Context, log io.Writer) (*Workload, error) {
	b, err := newBalancer(ctx, log)
	if err != nil {
		return nil, err
	}
	return &Workload{loadBalancer: b}, nil
}

// Port is the port of the Service, on loopback.
func (w *Workload) Port() int { return w.loadBalancer.port }

// Replicas are those that run.
func (w *Workload) Replicas() []*Replica { return slices.Clone(w.replicas) }

// Template says how replicas run.
type Template struct {
	// Binary is the program's file, and Log that of all its replicas.
	Binary, Log string
	Replicas    int
	// Health is the path that is probed; empty means /readyz.
	Health string
	// Args are the flags besides those of the ports.
	Args []string
}

// Rollout replaces the replicas by those of a template. One starts before one
// stops, as with maxSurge 1 and maxUnavailable 0: a new one is ready and in
// service before an old one is taken out of it and stopped. between is called in
// each of the states on the way.
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

// Close ends all replicas at once, and the Service.
func (w *Workload) Close() {
	for _, replica := range w.replicas {
		replica.Kill()
	}
	w.loadBalancer.close()
}
