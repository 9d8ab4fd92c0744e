package webhook

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnlessBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called := 0
		forget := unlessBefore(time.Second, func() { called++ })
		time.Sleep(time.Second - 1)
		forget()
		time.Sleep(time.Minute)
		if called != 0 {
			t.Error("it was forgotten and is called")
		}

		forget = unlessBefore(time.Second, func() { called++ })
		time.Sleep(time.Minute)
		if forget(); called != 1 {
			t.Errorf("it is called %d times, want once", called)
		}
	})
}

// TestForgetWaits for what runs already: it uses what is gone afterwards.
func TestForgetWaits(t *testing.T) {
	begun, end := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	forget := unlessBefore(0, func() {
		close(begun)
		<-end
		ended.Store(true)
	})
	<-begun
	time.AfterFunc(10*time.Millisecond, func() { close(end) })
	if forget(); !ended.Load() {
		t.Error("it runs after it was forgotten")
	}
}
