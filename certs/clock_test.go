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
	var told string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", told)
	}))
	defer server.Close()
	var log lockedBuffer
	local := currentContent.Add(2 * 365 * day)
	c := newClock(slog.New(slog.NewTextHandler(&log, nil)), func() time.Time { return local }, prometheus.NewRegistry())
	client := &http.Client{Transport: c.wrap(http.DefaultTransport)}
	hear := func(date string) {
		t.Helper()
		told = date
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
	}

	if !c.now().Equal(local) || c.offset() != 0 {
		t.Error("before any answer it is not this machine's")
	}
	hear(currentContent.Format(http.TimeFormat))
	if !c.now().Equal(currentContent) {
		t.Errorf("%s, want the API server's %s", c.now(), currentContent)
	}
	if got := c.offset(); got != -2*365*day {
		t.Errorf("offset %s", got)
	}
	local = local.Add(time.Minute)
	if got, want := c.now(), currentContent.Add(time.Minute); !got.Equal(want) {
		t.Errorf("a minute later it is %s, want %s", got, want)
	}
	hear("no date")
	if got, want := c.now(), currentContent.Add(time.Minute); !got.Equal(want) {
		t.Errorf("after an answer with no date it is %s, want %s", got, want)
	}
	hear(currentContent.Add(time.Minute).Format(http.TimeFormat))
	if got := strings.Count(log.String(), "clock is off"); got != 1 {
		t.Errorf("told %d times", got)
	}
	local = currentContent.Add(time.Minute)
	hear(currentContent.Add(time.Minute).Format(http.TimeFormat))
	if !strings.Contains(log.String(), "right again") || c.offset() != 0 {
		t.Errorf("offset %s, log %s", c.offset(), log.String())
	}
}
