// Package containercredentials loads the list of ServiceAccounts that use EKS Pod Identity from a
// file that another program writes. Only the content of the file determines the list: invalid
// entries are skipped, and the others apply. If the file cannot be read or decoded, the last list
// stays in use.
package containercredentials

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/filewatch"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// maxFileBytes is the maximum size of the file. A ConfigMap has at most 1 MiB. The limit allows
// about 100,000 ServiceAccounts.
const maxFileBytes = 8 << 20

// Config is the list in the file.
type Config struct {
	path   string
	logger *slog.Logger
	loads  *prometheus.CounterVec
	// loaded is 1 if the file could be read and decoded in the last load. skipped is the
	// number of invalid entries of the list in use.
	loaded, skipped prometheus.Gauge
	listed          atomic.Pointer[List]

	// last is the state of the file in the last read. applied reports whether it was loaded.
	// Only New and Run use these fields.
	last    fileState
	applied bool
}

// fileState is the content of the file at some time, or the error of reading it.
type fileState struct {
	content []byte
	err     error
}

// New returns a Config with the list in the file. It never fails: if the file cannot be loaded, the
// list is empty.
func New(path string, logger *slog.Logger, metrics prometheus.Registerer) *Config {
	c := &Config{
		path: path, logger: logger.With("file", path),
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_container_credentials_loads_total",
			Help: "Loads of the list of ServiceAccounts that use EKS Pod Identity, by result: success, also if invalid entries were skipped, or error if the file is missing or could not be read or decoded.",
		}, []string{"result"}),
		loaded: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_container_credentials_last_load_successful",
			Help: "1 if the list of ServiceAccounts that use EKS Pod Identity could be read and decoded, 0 if not. At 0, a missing file lists no ServiceAccounts. For any other error, replicas keep the last list that they decoded, and a replica that has decoded none lists no ServiceAccounts.",
		}),
		skipped: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "pod_identity_webhook_container_credentials_invalid_entries",
			Help: "Entries of the list of ServiceAccounts that use EKS Pod Identity that are skipped because they are invalid. The log names them.",
		}),
	}
	c.listed.Store(new(List))
	metrics.MustRegister(c.loads, c.loaded, c.skipped, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_container_credentials_identities",
		Help: "ServiceAccounts listed to use EKS Pod Identity. A fall to 0 means that the file was emptied or removed.",
	}, func() float64 { return float64(len(*c.listed.Load())) }))
	c.loads.WithLabelValues("success")
	c.loads.WithLabelValues("error")
	c.load(read(path))
	return c
}

// Contains reports whether a ServiceAccount uses EKS Pod Identity.
func (c *Config) Contains(name types.NamespacedName) bool { return c.listed.Load().Contains(name) }

// Run reloads the file after each change, until ctx is done.
func (c *Config) Run(ctx context.Context) {
	filewatch.Watch(ctx, []string{c.path}, filewatch.PollInterval, c.logger, c.reload)
}

// reload loads the file if it has changed. It reports whether to call it again soon: a file that is
// empty or cannot be decoded may be incomplete because it is being written. reload loads such a
// file only if it is still the same at the next call.
func (c *Config) reload() (again bool) {
	current := read(c.path)
	same := current.equal(c.last)
	switch {
	case same && c.applied:
		return false
	case same || current.complete():
		c.load(current)
		return false
	default:
		c.last, c.applied = current, false
		return true
	}
}

// load replaces the list with the list in state. It keeps the last list if the file could not be
// read or decoded, unless the file is missing.
func (c *Config) load(state fileState) {
	c.last, c.applied = state, true
	listed, skipped, err := state.parse()
	missing := errors.Is(state.err, fs.ErrNotExist)
	if err == nil || missing {
		c.listed.Store(&listed)
		c.skipped.Set(float64(len(skipped)))
	}
	inUse := len(*c.listed.Load())
	if err != nil {
		c.loaded.Set(0)
		c.loads.WithLabelValues("error").Inc()
		if missing {
			c.logger.Warn("File of ServiceAccounts for EKS Pod Identity is missing, so it lists none")
		} else {
			c.logger.Warn("Could not load ServiceAccounts for EKS Pod Identity, keeping the last list", "identities", inUse, "error", err)
		}
		return
	}
	c.loaded.Set(1)
	c.loads.WithLabelValues("success").Inc()
	if len(skipped) > 0 {
		c.logger.Warn("Skipped invalid entries of the ServiceAccounts for EKS Pod Identity", "identities", inUse, "skipped", len(skipped), "invalid", skipped.String())
		return
	}
	c.logger.Info("List of ServiceAccounts for EKS Pod Identity loaded", "identities", inUse)
}

// Read returns the list in a file and the errors of invalid entries, as Parse does. It returns an
// error if the file is missing, too large, or cannot be read or decoded. An empty file is an empty
// list.
func Read(path string) (List, identity.EntryErrors, error) { return read(path).parse() }

// read returns the state of a file.
func read(path string) fileState {
	file, err := os.Open(path) //nolint:gosec // the path is from a flag
	if err != nil {
		return fileState{err: err}
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err == nil && len(content) > maxFileBytes {
		err = fmt.Errorf("file is larger than %d bytes", maxFileBytes)
	}
	if err != nil {
		return fileState{err: err}
	}
	return fileState{content: content}
}

// equal reports whether two states are the same. It does not compare errors, except that a missing
// file differs from other errors.
func (s fileState) equal(other fileState) bool {
	return bytes.Equal(s.content, other.content) && (s.err == nil) == (other.err == nil) &&
		errors.Is(s.err, fs.ErrNotExist) == errors.Is(other.err, fs.ErrNotExist)
}

// complete reports whether the file is certainly not being written: it is valid and not empty.
func (s fileState) complete() bool {
	_, _, err := s.parse()
	return err == nil && !s.empty()
}

// empty reports whether there is no content except white space.
func (s fileState) empty() bool { return len(bytes.TrimSpace(s.content)) == 0 }

// parse returns the list in the file. An empty file is an empty list.
func (s fileState) parse() (List, identity.EntryErrors, error) {
	if s.err != nil || s.empty() {
		return nil, nil, s.err
	}
	return Parse(s.content)
}
