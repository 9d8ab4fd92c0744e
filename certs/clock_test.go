package certs

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestClock_usesAPIServerTime(t *testing.T) {
	var date string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", date)
	}))
	defer server.Close()
	var log lockedBuffer
	local := currentContent.Add(2 * 365 * day)
	c := newClock(slog.New(slog.NewJSONHandler(&log, nil)), func() time.Time { return local }, prometheus.NewRegistry())
	client := &http.Client{Transport: c.wrap(http.DefaultTransport)}
	observe := func(value string) {
		t.Helper()
		date = value
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}

	if !c.now().Equal(local) || c.offset() != 0 {
		t.Error("before the first response the time is not this machine's")
	}
	observe(currentContent.Format(http.TimeFormat))
	if !c.now().Equal(currentContent) {
		t.Errorf("got %s, want the API server's %s", c.now(), currentContent)
	}
	if got := c.offset(); got != -2*365*day {
		t.Errorf("got offset %s, want two years", got)
	}
	local = local.Add(time.Minute)
	if got, want := c.now(), currentContent.Add(time.Minute); !got.Equal(want) {
		t.Errorf("a minute later: got %s, want %s", got, want)
	}
	observe("no date")
	if got, want := c.now(), currentContent.Add(time.Minute); !got.Equal(want) {
		t.Errorf("after a response without a date: got %s, want %s", got, want)
	}
	observe(currentContent.Add(time.Minute).Format(http.TimeFormat))
	if got := strings.Count(log.String(), "Clock of this machine is wrong"); got != 1 {
		t.Errorf("got %d log lines, want 1", got)
	}
	if !strings.Contains(log.String(), `"offset":"-17520h0m0s"`) {
		t.Errorf("got log %s, want the offset as text", log.String())
	}
	local = currentContent.Add(time.Minute)
	observe(currentContent.Add(time.Minute).Format(http.TimeFormat))
	if !strings.Contains(log.String(), "correct again") || c.offset() != 0 {
		t.Errorf("got offset %s, want 0; log %s", c.offset(), log.String())
	}
}
