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

// caller asks one server as an API server does.
type caller struct {
	url    string
	client *http.Client
	// opened counts the connections.
	opened *atomic.Int64
}

// ask sends a review and reads the answer into the buffer.
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
		return fmt.Errorf("read the answer to %s: %w", r.name, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer to %s is %s: %s", r.name, response.Status, answer)
	}
	if response.ProtoMajor != 1 {
		return fmt.Errorf("the answer to %s comes over %s, not HTTP/1.1", r.name, response.Proto)
	}
	return nil
}

// check asks once for each of the reviews, and fails unless each pod is admitted,
// with a patch if so wanted. It returns the sizes of the answers in bytes: as the
// server stays the same, so do they.
func (c caller) check(ctx context.Context, reviews []review, patched bool) ([]int, error) {
	var sizes []int
	for _, r := range reviews {
		var body bytes.Buffer
		if err := c.ask(ctx, r, &body); err != nil {
			return nil, err
		}
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(body.Bytes(), &answer); err != nil || answer.Response == nil {
			return nil, fmt.Errorf("the answer to %s is no AdmissionReview: %w: %s", r.name, err, body.Bytes())
		}
		if !answer.Response.Allowed || patched != (len(answer.Response.Patch) > 0) {
			return nil, fmt.Errorf("the answer to %s is not what is to be measured: %s", r.name, body.Bytes())
		}
		sizes = append(sizes, body.Len())
	}
	return sizes, nil
}

// load is what came of some seconds of asking.
type load struct {
	latencies   []time.Duration // one of each admission, in no order
	answerBytes int64           // of all answers together
	took        time.Duration   // from the first request to the last answer
	opened      int64           // connections that were not there before
}

// checkKept fails if requests did not use the connections that were there. A worker
// may open one that it then does not need.
func (l load) checkKept(workers int) error {
	if l.opened > int64(workers) {
		return fmt.Errorf("%d connections were opened for %d workers: they are not kept", l.opened, workers)
	}
	return nil
}

// drive keeps one request in flight for each of the workers, which takes its own
// reviews by turns, for the duration. An answer of another size than check had is an
// error.
func (c caller) drive(ctx context.Context, workers []worker, duration time.Duration) (load, error) {
	start, before := time.Now(), c.opened.Load()
	loads := make([]load, len(workers))
	group, ctx := errgroup.WithContext(ctx)
	for n, worker := range workers {
		group.Go(func() (err error) {
			// They begin with different reviews.
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

// worker asks for its reviews, whose answers have the sizes.
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
			return load{}, fmt.Errorf("an answer to %s has %d bytes, another had %d: %s", w.reviews[of].name, answer.Len(), w.sizes[of], &answer)
		}
		l.latencies = append(l.latencies, time.Since(start))
		l.answerBytes += int64(answer.Len())
	}
}
