package certs

import (
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// maxClockOffset is how far this machine's clock may be off without a word. It is
// well within backdate.
const maxClockOffset = time.Minute

// clock tells the API server's time, which is what certificates are judged by:
// a replica whose own clock is off must not replace what is good, nor make what
// is not valid yet. It learns the time from the Date of the API server's
// answers; before the first it is this machine's.
type clock struct {
	logger *slog.Logger
	// local is time.Now, but in tests.
	local func() time.Time

	mu sync.Mutex
	// serverTime is what the API server said last, and heard when that was. How much
	// time has passed since is measured by the monotonic clock, which nobody
	// sets.
	serverTime, receivedAt time.Time
	errorLogged            bool
}

func newClock(logger *slog.Logger, local func() time.Time, metrics prometheus.Registerer) *clock {
	c := &clock{logger: logger, local: local}
	metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "pod_identity_webhook_clock_offset_seconds",
		Help: "How far this machine's clock is behind the API server's; negative if it is ahead. Certificates are made by the API server's, but tokens and logs suffer.",
	}, func() float64 { return c.offset().Seconds() }))
	return c
}

// now is the API server's time.
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
		c.logger.Warn("this machine's clock is off, certificates are made by the API server's", "offset", offset)
	// A Date is of whole seconds, so the offset flickers.
	case offset.Abs() < maxClockOffset/2 && c.errorLogged:
		c.errorLogged = false
		c.logger.Info("this machine's clock is right again")
	}
}

// wrap makes the clock listen to the answers of a transport to the API server.
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
