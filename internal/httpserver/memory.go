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
	// maxReadBytes is the memory limit of requests in flight with their bodies. An API
	// server can have 600 requests in flight (see maxConnections), each with a pod of
	// about 10 KiB. That is 16 MiB, the half that one host may use.
	maxReadBytes = 32 << 20
	// requestOverheadBytes is the memory of a request in addition to its body, for
	// goroutines and buffers.
	requestOverheadBytes = 16 << 10
	// maxDecodedBytes is the memory limit of decoded bodies.
	maxDecodedBytes = 64 << 20
	// bodyTimeout is how long a body may take. The largest body must arrive at
	// 1.4 MiB/s, which is slow between an API server and a pod.
	bodyTimeout = 5 * time.Second
	// MaxBodyBytes is the maximum size of an AdmissionReview. An API server accepts
	// requests of at most 3 MiB (MaxRequestBodyBytes in
	// k8s.io/apiserver/pkg/server/config.go). That is twice the 1.5 MiB that etcd stores,
	// because JSON is larger than protobuf. A review can have two such objects, the old
	// and the new one, and 1 MiB for the rest. An API server never sends a larger body.
	MaxBodyBytes = 2*3<<20 + 1<<20
	// MaxReservedBytes is the maximum that one request can reserve.
	MaxReservedBytes = maxDecodedBytes / 2
)

// memoryLimiter limits the memory of the requests of all clients. One host gets at most
// half of it, so that it cannot lock out the others.
type memoryLimiter struct {
	read, decoded *semaphore.Weighted

	mu    sync.Mutex
	hosts map[string]*hostQuota
}

// hostQuota is the quota of a host that has requests in flight.
type hostQuota struct {
	requests      int // guarded by the mutex of memoryLimiter
	read, decoded *semaphore.Weighted
}

func newMemoryLimiter() *memoryLimiter {
	return &memoryLimiter{
		read: semaphore.NewWeighted(maxReadBytes), decoded: semaphore.NewWeighted(maxDecodedBytes), hosts: map[string]*hostQuota{},
	}
}

// Reservation is the memory that one request has reserved. Methods of a nil Reservation
// do nothing and return nil.
type Reservation struct {
	limiter       *memoryLimiter
	remoteHost    string
	quota         *hostQuota
	read, decoded int64
}

type reservationKey struct{}

// ReservationFrom returns the Reservation of the request with the context, or nil if
// memory is not limited.
func ReservationFrom(ctx context.Context) *Reservation {
	reservation, _ := ctx.Value(reservationKey{}).(*Reservation)
	return reservation
}

// limitMemory limits the size of each request body and the memory of all of them. A Read
// of the body returns an *httperror.Error as its error.
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
		// From here on net/http reads from the connection to detect that the client
		// closes it. An expired deadline would look the same.
		_ = http.NewResponseController(b.response).SetReadDeadline(time.Time{})
		return n, io.EOF
	case exceeds:
		return n, httperror.New(http.StatusRequestEntityTooLarge, BodyTooLarge, "body is larger than %d bytes, the maximum that an API server sends", MaxBodyBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, httperror.New(http.StatusRequestTimeout, BodyTooSlow, "body did not arrive within %s", bodyTimeout)
	default:
		return n, httperror.New(http.StatusBadRequest, BodyNotRead, "read body: %w", err)
	}
}

// begin returns an empty Reservation for a request of a host.
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
	return httperror.New(http.StatusServiceUnavailable, Overloaded, "requests in flight of %s use its whole memory quota: try again", r.remoteHost)
}

func overloaded() *httperror.Error {
	return httperror.New(http.StatusServiceUnavailable, Overloaded, "requests in flight use the whole memory limit: try again")
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

// Reserve reserves n bytes for the decoded body, at most MaxReservedBytes, and waits
// until they are free. They replace the bytes of earlier calls. A request keeps them
// until its end, also while it waits for other servers. A request waits for the quota
// of its host before it waits for the memory of all hosts. Reserve returns an
// *httperror.Error if ctx is done first.
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

// Grow increases the reservation to n bytes, at most MaxReservedBytes. It does nothing
// if the reservation is larger. It does not wait, because the data is already in
// memory: it returns an *httperror.Error if the bytes are not free.
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

// end releases the reservation. It must be called once.
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
