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

// fileReloader is what files say until some time, read again when they change. Files
// that cannot be used, such as some caught half-written, leave the last good value
// in use.
type fileReloader[Value any] struct {
	// what the files are, for the log.
	what  string
	files []string
	// parse makes a value of the files' contents, and says until when it is good.
	parse func(contents [][]byte) (Value, time.Time, error)

	logger       *slog.Logger
	reloads      *prometheus.CounterVec
	pollInterval time.Duration

	// contents are what was read last, good or bad; alarmed says that they are bad
	// and that this has been told. They are Run's alone.
	contents    [][]byte
	errorLogged bool

	current atomic.Pointer[expiring[Value]]
}

// expiring is a value with its end.
type expiring[Value any] struct {
	value  Value
	expiry time.Time
}

// load reads the files once, and fails if they cannot be used.
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

// Run reads the files again upon each change, until ctx is done.
func (r *fileReloader[Value]) Run(ctx context.Context) {
	filewatch.Watch(ctx, r.files, r.pollInterval, r.logger, r.reloadAndLog)
}

// reloadAndLog says whether to look again soon: files that cannot be used may
// have been caught half-written, and are an alarm only if they stay so.
func (r *fileReloader[Value]) reloadAndLog() (doubt bool) {
	changed, err := r.reload()
	switch {
	case changed && err == nil:
		r.reloads.WithLabelValues("success").Inc()
		r.logger.Info(r.what+" reloaded", "file", r.files[0], "expiry", r.expiry())
	case changed:
		r.errorLogged = false
		return true
	case err != nil && !r.errorLogged:
		r.errorLogged = true
		r.reloads.WithLabelValues("error").Inc()
		r.logger.Warn(r.what+" cannot be used, the last good one stays", "error", err, "expiry", r.expiry())
	}
	return false
}

// reload reads the files, says whether they differ from what was read last, and
// why they cannot be used, if so. As long as they do not, the value is the same.
func (r *fileReloader[Value]) reload() (changed bool, err error) {
	var unread []error
	for i, file := range r.files {
		content, err := os.ReadFile(file) //nolint:gosec // flags name the files
		changed = changed || !bytes.Equal(content, r.contents[i])
		r.contents[i] = content
		unread = append(unread, err)
	}
	if err := errors.Join(unread...); err != nil {
		return changed, fmt.Errorf("read %s: %w", r.what, err)
	}
	value, expiry, err := r.parse(r.contents)
	if err != nil {
		return changed, fmt.Errorf("%s in %s: %w", r.what, r.files[0], err)
	}
	if changed {
		r.current.Store(&expiring[Value]{value, expiry})
	}
	return changed, nil
}
