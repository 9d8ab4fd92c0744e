package certs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/filewatch"
)

// fileReloader is a value that is parsed from files and has an expiry. It reloads
// the files when they change. If they are invalid, for example because they are only
// half written, it keeps the last valid value.
type fileReloader[Value any] struct {
	// kind names the value in errors and in the log.
	kind  string
	files []string
	// parse returns the value of the files' contents and its expiry.
	parse func(contents [][]byte) (Value, time.Time, error)

	logger       *slog.Logger
	reloads      *prometheus.CounterVec
	pollInterval time.Duration

	// Only Run uses these after load. contents are the contents that were read last,
	// valid or not. errorLogged reports whether they are invalid and the error has
	// been logged.
	contents    [][]byte
	errorLogged bool

	current atomic.Pointer[expiring[Value]]
}

// expiring is a value with its expiry.
type expiring[Value any] struct {
	value  Value
	expiry time.Time
}

// load reads the files once. It returns an error if they cannot be read or are
// invalid.
func (r *fileReloader[Value]) load(metrics prometheus.Registerer, reloads prometheus.CounterOpts) error {
	r.pollInterval = filewatch.PollInterval
	r.contents = make([][]byte, len(r.files))
	if _, err := r.reload(); err != nil {
		return err
	}
	r.reloads = prometheus.NewCounterVec(reloads, []string{"result"})
	r.reloads.WithLabelValues("success")
	r.reloads.WithLabelValues("error")
	metrics.MustRegister(r.reloads)
	return nil
}

func (r *fileReloader[Value]) value() Value { return r.current.Load().value }

func (r *fileReloader[Value]) expiry() time.Time { return r.current.Load().expiry }

// Run reloads the files after each change until ctx is done.
func (r *fileReloader[Value]) Run(ctx context.Context) {
	filewatch.Watch(ctx, r.files, r.pollInterval, r.logger, r.reloadAndLog)
}

// reloadAndLog reloads the files, and logs and counts the result. It reports whether
// to try again soon: invalid files may be only half written, so they are an error
// only if they stay invalid.
func (r *fileReloader[Value]) reloadAndLog() (retry bool) {
	changed, err := r.reload()
	switch {
	case changed && err == nil:
		r.reloads.WithLabelValues("success").Inc()
		r.logger.Info("Reloaded file", "kind", r.kind, "file", r.files[0], "expiry", r.expiry())
	case changed:
		r.errorLogged = false
		return true
	case err != nil && !r.errorLogged:
		r.errorLogged = true
		r.reloads.WithLabelValues("error").Inc()
		r.logger.Warn("Could not reload file, keeping last valid version", "kind", r.kind, "error", err, "expiry", r.expiry())
	}
	return false
}

// reload reads the files and stores their value if they changed. It reports whether
// they differ from the last read. It returns an error if they cannot be read or are
// invalid; then the value stays the same.
func (r *fileReloader[Value]) reload() (changed bool, err error) {
	var unread []error
	for i, file := range r.files {
		content, err := os.ReadFile(file) //nolint:gosec // flags name the files
		changed = changed || !bytes.Equal(content, r.contents[i])
		r.contents[i] = content
		unread = append(unread, err)
	}
	if err := errors.Join(unread...); err != nil {
		return changed, fmt.Errorf("read %s: %w", r.kind, err)
	}
	value, expiry, err := r.parse(r.contents)
	if err != nil {
		return changed, fmt.Errorf("%s in %s: %w", r.kind, r.files[0], err)
	}
	if changed {
		r.current.Store(&expiring[Value]{value, expiry})
	}
	return changed, nil
}
