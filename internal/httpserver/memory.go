package httpserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httperror"
)

const (
	// maxReadBytes bounds the memory of requests in flight and of their bodies. An API
	// server can have 600 requests in flight (see maxConnections), with a pod of some
	// 10 KiB each: 16 MiB, which is one host's half.
	maxReadBytes = 32 << 20
	// requestOverheadBytes is what a request takes besides its body: goroutines, buffers.
	requestOverheadBytes = 16 << 10
	// maxDecodedBytes bounds the memory of what bodies are decoded to.
	maxDecodedBytes = 64 << 20
	// bodyTimeout is how long a body may take. The largest must come at 1.4 MiB/s,
	// which is slow between an API server and a pod.
	bodyTimeout = 5 * time.Second
	// MaxBodyBytes bounds an AdmissionReview. The API server takes a request of at
	// most 3 MiB (MaxRequestBodyBytes in k8s.io/apiserver/pkg/server/config.go:
	// twice the 1.5 MiB that etcd stores, since JSON is larger than protobuf), and
	// a review can carry two such objects, the old and the new. 1 MiB is left for
	// the rest of it. A larger body cannot come from an API server.
	MaxBodyBytes = 2*3<<20 + 1<<20
	// MaxReservedBytes is the most that one request can reserve.
	MaxReservedBytes = maxDecodedBytes / 2
)

// memoryLimiter bounds the memory that requests take, whoever sends them. One host
// gets half of it at most, so that it cannot keep the others out.
type memoryLimiter struct {
	read, decoded *semaphore.Weighted

	mu    sync.Mutex
	hosts map[string]*hostQuota
}

// hostQuota is what a host can have, as long as it has requests in flight.
type hostQuota struct {
	requests      int // guarded by the mutex of memoryLimiter
	read, decoded *semaphore.Weighted
}

func newMemoryLimiter() *memoryLimiter {
	return &memoryLimiter{
		read: semaphore.NewWeighted(maxReadBytes), decoded: semaphore.NewWeighted(maxDecodedBytes), hosts: map[string]*hostQuota{},
	}
}

// Reservation is the memory that one request has taken. The methods of nil do nothing.
type Reservation struct {
	limiter       *memoryLimiter
	remoteHost    string
	quota         *hostQuota
	read, decoded int64
}

type reservationKey struct{}

// ReservationFrom returns the Reservation of a request, or nil if memory is not limited.
func ReservationFrom(ctx context.Context) *Reservation {
	reservation, _ := ctx.Value(reservationKey{}).(*Reservation)
	return reservation
}

// limitMemory bounds the bodies of requests in number of bytes, in time, and in the
// memory of all of them. A Read of the body returns an *httperror.Error.
func (s *Server) limitMemory(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		reservation := s.memory.begin(hostOf(r.RemoteAddr))
		defer reservation.end()
		if err := reservation.reserveRead(requestOverheadBytes); err != nil {
			s.reject(w, r, time.Since(start), err)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), reservationKey{}, reservation))
		r.Body = &limitedBody{ReadCloser: http.MaxBytesReader(w, r.Body, MaxBodyBytes), response: w, reservation: reservation}
		next.ServeHTTP(w, r)
	})
}

// limitedBody is a body whose memory is reserved as it arrives, not as its header
// declares: a client can declare any Content-Length.
type limitedBody struct {
	io.ReadCloser
	response    http.ResponseWriter
	reservation *Reservation
}

func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if full := b.reservation.reserveRead(int64(n)); full != nil {
			return n, full
		}
	}
	switch _, exceeds := errors.AsType[*http.MaxBytesError](err); {
	case err == nil:
		return n, nil
	case errors.Is(err, io.EOF):
		// From here on net/http reads the connection to notice that the client closes
		// it. A deadline would look like that.
		_ = http.NewResponseController(b.response).SetReadDeadline(time.Time{})
		return n, io.EOF
	case exceeds:
		return n, httperror.New(http.StatusRequestEntityTooLarge, BodyTooLarge, "the body is larger than %d bytes, which no API server sends", MaxBodyBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, httperror.New(http.StatusRequestTimeout, BodyTooSlow, "the body was not there in time")
	default:
		return n, httperror.New(http.StatusBadRequest, BodyNotRead, "read body: %w", err)
	}
}

// begin begins a request of a host.
func (m *memoryLimiter) begin(host string) *Reservation {
	m.mu.Lock()
	defer m.mu.Unlock()
	quota := m.hosts[host]
	if quota == nil {
		quota = &hostQuota{read: semaphore.NewWeighted(maxReadBytes / 2), decoded: semaphore.NewWeighted(maxDecodedBytes / 2)}
		m.hosts[host] = quota
	}
	quota.requests++
	return &Reservation{limiter: m, remoteHost: host, quota: quota}
}

func (r *Reservation) hostOverloaded() *httperror.Error {
	return httperror.New(http.StatusServiceUnavailable, Overloaded, "the requests in flight of %s take all the memory that there is for them: try again", r.remoteHost)
}

func overloaded() *httperror.Error {
	return httperror.New(http.StatusServiceUnavailable, Overloaded, "the requests in flight take all the memory that there is for them: try again")
}

func (r *Reservation) reserveRead(n int64) *httperror.Error {
	if !r.quota.read.TryAcquire(n) {
		return r.hostOverloaded()
	}
	if !r.limiter.read.TryAcquire(n) {
		r.quota.read.Release(n)
		return overloaded()
	}
	r.read += n
	return nil
}

// Reserve waits until n bytes are free, at most MaxReservedBytes, for what the body is
// decoded to. They replace those of earlier calls. A request keeps them until its end,
// also while it waits for other servers. The requests of a host wait for one another
// before they wait for those of others. The error is an *httperror.Error.
func (r *Reservation) Reserve(ctx context.Context, n int64) error {
	if r == nil {
		return nil
	}
	r.releaseDecoded()
	n = min(n, MaxReservedBytes)
	if r.quota.decoded.Acquire(ctx, n) != nil {
		return r.hostOverloaded()
	}
	if r.limiter.decoded.Acquire(ctx, n) != nil {
		r.quota.decoded.Release(n)
		return overloaded()
	}
	r.decoded = n
	return nil
}

// Grow makes the reservation at least n bytes, at most MaxReservedBytes. It does not
// wait: what needs the bytes is in memory already. The error is an *httperror.Error.
func (r *Reservation) Grow(n int64) error {
	if r == nil {
		return nil
	}
	n = min(n, MaxReservedBytes) - r.decoded
	if n <= 0 {
		return nil
	}
	if !r.quota.decoded.TryAcquire(n) {
		return r.hostOverloaded()
	}
	if !r.limiter.decoded.TryAcquire(n) {
		r.quota.decoded.Release(n)
		return overloaded()
	}
	r.decoded += n
	return nil
}

func (r *Reservation) releaseDecoded() {
	r.quota.decoded.Release(r.decoded)
	r.limiter.decoded.Release(r.decoded)
	r.decoded = 0
}

// end releases all, once.
func (r *Reservation) end() {
	r.releaseDecoded()
	r.quota.read.Release(r.read)
	r.limiter.read.Release(r.read)
	r.limiter.mu.Lock()
	defer r.limiter.mu.Unlock()
	if r.quota.requests--; r.quota.requests == 0 {
		delete(r.limiter.hosts, r.remoteHost)
	}
}
