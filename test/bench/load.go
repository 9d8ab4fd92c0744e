package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admission/v1"
)

// caller is a client that calls one server as an API server does.
type caller struct {
	url    string
	client *http.Client
	// opened is the number of opened connections.
	opened *atomic.Int64
}

// ask sends a review and reads the response into answer.
func (c caller) ask(ctx context.Context, r review, answer *bytes.Buffer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/mutate?timeout=10s", bytes.NewReader(r.body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer.Reset()
	if _, err := answer.ReadFrom(response.Body); err != nil {
		return fmt.Errorf("read response to %s: %w", r.name, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("got response to %s with status %s: %s", r.name, response.Status, answer)
	}
	if response.ProtoMajor != 1 {
		return fmt.Errorf("got response to %s over %s, want HTTP/1.1", r.name, response.Proto)
	}
	return nil
}

// check sends each review once. It returns an error unless each pod is admitted, with a
// patch if patched is true. It returns the sizes of the responses in bytes, which stay
// the same as long as the server does.
func (c caller) check(ctx context.Context, reviews []review, patched bool) ([]int, error) {
	var sizes []int
	for _, r := range reviews {
		var body bytes.Buffer
		if err := c.ask(ctx, r, &body); err != nil {
			return nil, err
		}
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(body.Bytes(), &answer); err != nil || answer.Response == nil {
			return nil, fmt.Errorf("response to %s is not an AdmissionReview: %w: %s", r.name, err, body.Bytes())
		}
		if !answer.Response.Allowed || patched != (len(answer.Response.Patch) > 0) {
			return nil, fmt.Errorf("unexpected response to %s: %s", r.name, body.Bytes())
		}
		sizes = append(sizes, body.Len())
	}
	return sizes, nil
}

// load is the result of a period of requests.
type load struct {
	latencies   []time.Duration // one per admission, unordered
	answerBytes int64           // of all responses
	took        time.Duration   // from the first request to the last response
	opened      int64           // new connections
}

// checkKept returns an error if requests opened more connections than a worker may open
// without using them.
func (l load) checkKept(workers int) error {
	if l.opened > int64(workers) {
		return fmt.Errorf("got %d new connections for %d workers, want keep-alive", l.opened, workers)
	}
	return nil
}

// drive keeps one request in flight per worker for the duration. Each worker sends its
// reviews in turn. It returns an error for a response of another size than in check.
func (c caller) drive(ctx context.Context, workers []worker, duration time.Duration) (load, error) {
	start, before := time.Now(), c.opened.Load()
	loads := make([]load, len(workers))
	group, ctx := errgroup.WithContext(ctx)
	for n, worker := range workers {
		group.Go(func() (err error) {
			// Workers start with different reviews.
			loads[n], err = c.driveOne(ctx, worker, n, start.Add(duration))
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return load{}, err
	}
	all := load{took: time.Since(start), opened: c.opened.Load() - before}
	for _, l := range loads {
		all.latencies = append(all.latencies, l.latencies...)
		all.answerBytes += l.answerBytes
	}
	if len(all.latencies) == 0 {
		return load{}, errors.New("no admission was measured")
	}
	return all, nil
}

// worker sends its reviews and expects responses of the given sizes.
type worker struct {
	reviews []review
	sizes   []int
}

func (c caller) driveOne(ctx context.Context, w worker, first int, end time.Time) (load, error) {
	var l load
	var answer bytes.Buffer
	for n := first; ; n++ {
		start := time.Now()
		if !start.Before(end) {
			return l, nil
		}
		of := n % len(w.reviews)
		if err := c.ask(ctx, w.reviews[of], &answer); err != nil {
			return load{}, err
		}
		if answer.Len() != w.sizes[of] {
			return load{}, fmt.Errorf("got response to %s of %d bytes, want %d: %s", w.reviews[of].name, answer.Len(), w.sizes[of], &answer)
		}
		l.latencies = append(l.latencies, time.Since(start))
		l.answerBytes += int64(answer.Len())
	}
}
