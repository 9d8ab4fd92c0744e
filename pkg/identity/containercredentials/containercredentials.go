// Package containercredentials owns the list of ServiceAccounts that use EKS Pod
// Identity, which is a file that something else writes. The list is a function of
// the file's content alone: invalid entries are skipped, and the others apply. Only
// a file that cannot be read or decoded leaves the last list in force.
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

// maxFileBytes bounds what is read into memory. A ConfigMap holds at most 1 MiB,
// and this is enough for 100,000 ServiceAccounts.
const maxFileBytes = 8 << 20

// Config is the list as the file has it.
type Config struct {
	path   string
	logger *slog.Logger
	loads  *prometheus.CounterVec
	// loaded is 1 if the file could be read and decoded when it was loaded last, and
	// skipped is the number of invalid entries of the list in use.
	loaded, skipped prometheus.Gauge
	listed          atomic.Pointer[List]

	// last is what was read last, and settled says that it has been acted upon.
	// They are Run's alone.
	last    fileState
	applied bool
}

// fileState is what the file held at some time, or why that is not known.
type fileState struct {
	content []byte
	err     error
}

// New loads the file once, whatever it holds.
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

// Run reads the file again upon each change, until ctx is done.
func (c *Config) Run(ctx context.Context) {
	filewatch.Watch(ctx, []string{c.path}, filewatch.PollInterval, c.logger, c.reload)
}

// reload acts upon what the file holds now, once. It reports whether to look again
// soon: a file that cannot be decoded, or holds nothing, may have been caught while
// it was written, and counts only if it stays so.
func (c *Config) reload() (again bool) {
	now := read(c.path)
	same := now.equal(c.last)
	switch {
	case same && c.applied:
		return false
	case same || now.complete():
		c.load(now)
		return false
	default:
		c.last, c.applied = now, false
		return true
	}
}

// load puts in force what was read.
func (c *Config) load(now fileState) {
	c.last, c.applied = now, true
	listed, skipped, err := now.parse()
	missing := errors.Is(now.err, fs.ErrNotExist)
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

// Read returns the list of a file, as Parse does. A missing file is an error.
func Read(path string) (List, identity.EntryErrors, error) { return read(path).parse() }

func read(path string) fileState {
	file, err := os.Open(path) //nolint:gosec // the path is a flag's
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

func (r fileState) equal(other fileState) bool {
	return bytes.Equal(r.content, other.content) && (r.err == nil) == (other.err == nil) &&
		errors.Is(r.err, fs.ErrNotExist) == errors.Is(other.err, fs.ErrNotExist)
}

// complete reports whether it cannot be a file that is being written.
func (r fileState) complete() bool {
	_, _, err := r.parse()
	return err == nil && !r.empty()
}

func (r fileState) empty() bool { return len(bytes.TrimSpace(r.content)) == 0 }

// parse takes an empty file for an empty list.
func (r fileState) parse() (List, identity.EntryErrors, error) {
	if r.err != nil || r.empty() {
		return nil, nil, r.err
	}
	return Parse(r.content)
}
