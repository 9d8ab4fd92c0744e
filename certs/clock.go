package certs

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxClockOffset is the largest offset of this machine's clock that is not logged. It
// is much smaller than backdate.
const maxClockOffset = time.Minute

// clock returns the API server's time, which the API server uses to validate
// certificates. A replica with a wrong clock must not replace valid certificates or
// create certificates that are not valid yet. The clock takes the time from the Date
// header of API server responses. Before the first one it returns this machine's
// time.
type clock struct {
	logger *slog.Logger
	// local is time.Now, except in tests.
	local func() time.Time

	mu sync.Mutex
	// serverTime is the last time that the API server sent, and receivedAt is this
	// machine's time when it arrived. The monotonic clock measures the time since
	// then, so that setting this machine's clock does not change it.
	serverTime, receivedAt time.Time
	errorLogged            bool
}

func newClock(logger *slog.Logger, local func() time.Time, metrics prometheus.Registerer) *clock {
	c := &clock{logger: logger, local: local}
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_clock_offset_seconds",
		Help: "Time in seconds by which this machine's clock is behind the API server's clock; negative if it is ahead. Certificates follow the API server's clock and are not affected, but tokens and log times are.",
	}, func() float64 { return c.offset().Seconds() }))
	return c
}

// now returns the API server's time.
func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serverTime.IsZero() {
		return c.local()
	}
	return c.serverTime.Add(c.local().Sub(c.receivedAt))
}

func (c *clock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.serverTime.IsZero() {
		return 0
	}
	return c.serverTime.Sub(c.receivedAt)
}

func (c *clock) observe(date time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.serverTime, c.receivedAt = date, c.local()
	offset := c.serverTime.Sub(c.receivedAt)
	switch {
	case offset.Abs() > maxClockOffset && !c.errorLogged:
		c.errorLogged = true
		c.logger.Warn("Clock of this machine is wrong, using the API server's clock for certificates", "offset", offset.String())
	// A Date has whole seconds, so the offset varies by a second.
	case offset.Abs() < maxClockOffset/2 && c.errorLogged:
		c.errorLogged = false
		c.logger.Info("Clock of this machine is correct again")
	}
}

// wrap returns a transport to the API server that passes the Date of each response
// to the clock.
func (c *clock) wrap(transport http.RoundTripper) http.RoundTripper {
	return dateRecorder{transport, c}
}

type dateRecorder struct {
	transport http.RoundTripper
	clock     *clock
}

func (l dateRecorder) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := l.transport.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(response.Header.Get("Date")); err == nil {
		l.clock.observe(date)
	}
	return response, nil
}
