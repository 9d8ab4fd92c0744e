// Package containercredentials owns the list of ServiceAccounts that use EKS Pod
// Identity, which is a file that something else writes.
package containercredentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/follow"
)

// set is a set of ServiceAccounts.
type set map[types.NamespacedName]struct{}

// Config is the list as the file has it. Content that cannot be used leaves the
// last good list in force.
type Config struct {
	path   string
	logger *slog.Logger
	loads  *prometheus.CounterVec
	listed atomic.Pointer[set]

	// last is what was read last, and settled says that it has been acted upon.
	// They are Run's alone.
	last    reading
	settled bool
}

// reading is what the file held at some time, or why that is not known.
type reading struct {
	content []byte
	err     error
}

// New reads the file once. A file that is missing or empty lists nothing; one
// that cannot be used is an error.
func New(path string, logger *slog.Logger, metrics prometheus.Registerer) (*Config, error) {
	c := &Config{
		path: path, logger: logger,
		loads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "pod_identity_webhook_container_credentials_loads_total",
			Help: "Changes of the list of ServiceAccounts that use EKS Pod Identity, by result: success or error. After an error the last good list stays in force.",
		}, []string{"result"}),
		last:    read(path),
		settled: true,
	}
	listed, err := c.last.parse()
	if err != nil {
		return nil, fmt.Errorf("list of ServiceAccounts for EKS Pod Identity in %s: %w", path, err)
	}
	c.listed.Store(&listed)
	metrics.MustRegister(c.loads, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_container_credentials_identities",
		Help: "ServiceAccounts listed to use EKS Pod Identity. A fall to 0 means that the file was emptied or removed.",
	}, func() float64 { return float64(len(*c.listed.Load())) }))
	c.loads.WithLabelValues("success")
	c.loads.WithLabelValues("error")
	return c, nil
}

// Lists says whether a ServiceAccount uses EKS Pod Identity.
func (c *Config) Lists(name types.NamespacedName) bool {
	_, ok := (*c.listed.Load())[name]
	return ok
}

// Run reads the file again upon each change, until ctx is done.
func (c *Config) Run(ctx context.Context) {
	follow.Files(ctx, []string{c.path}, follow.PollInterval, c.logger, c.look)
}

// look acts upon what the file holds now, once. It says whether to look again
// soon: a file that cannot be used, or holds nothing, may have been caught while
// it was written, and counts only if it stays so.
func (c *Config) look() (again bool) {
	now := read(c.path)
	same := now.same(c.last)
	if same && c.settled {
		return false
	}
	listed, err := now.parse()
	c.last, c.settled = now, same || err == nil && !now.empty()
	switch {
	case !c.settled:
		return true
	case err != nil:
		c.loads.WithLabelValues("error").Inc()
		c.logger.Warn("list of ServiceAccounts for EKS Pod Identity cannot be used, the last good one stays", "file", c.path, "error", err)
	default:
		c.listed.Store(&listed)
		c.loads.WithLabelValues("success").Inc()
		c.logger.Info("list of ServiceAccounts for EKS Pod Identity loaded", "file", c.path, "identities", len(listed))
	}
	return false
}

// read takes a file that is missing for an empty one.
func read(path string) reading {
	content, err := os.ReadFile(path) //nolint:gosec // the path is a flag's
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return reading{content: content, err: err}
}

func (r reading) same(other reading) bool {
	return bytes.Equal(r.content, other.content) && (r.err == nil) == (other.err == nil)
}

func (r reading) empty() bool { return len(bytes.TrimSpace(r.content)) == 0 }

func (r reading) parse() (set, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.empty() {
		return set{}, nil
	}
	return parse(r.content)
}

// parse reads {"identities": [{"namespace": "", "serviceAccount": ""}]}.
func parse(content []byte) (set, error) {
	var document struct {
		Identities []struct {
			Namespace      string `json:"namespace"`
			ServiceAccount string `json:"serviceAccount"`
		} `json:"identities"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		// The decoder's error can quote what it reads.
		return nil, errors.New(`it is no JSON of the form {"identities": [{"namespace": "", "serviceAccount": ""}]}`)
	}
	listed := set{}
	for i, entry := range document.Identities {
		if entry.Namespace == "" || entry.ServiceAccount == "" {
			return nil, fmt.Errorf("identities[%d] lacks its namespace or its serviceAccount", i)
		}
		listed[types.NamespacedName{Namespace: entry.Namespace, Name: entry.ServiceAccount}] = struct{}{}
	}
	return listed, nil
}
