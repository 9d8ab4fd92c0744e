package webhook

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestRefuseDebug(t *testing.T) {
	response := httptest.NewRecorder()
	requireLoopback(RefuseDebug()).ServeHTTP(response, &http.Request{RemoteAddr: "127.0.0.1:1234"})
	if response.Code != http.StatusForbidden || !strings.Contains(response.Body.String(), "hostNetwork") {
		t.Errorf("got HTTP %d %q, want 403 that names hostNetwork", response.Code, response.Body)
	}
}

func TestDebugHandlers_loopbackOnly(t *testing.T) {
	handler := requireLoopback(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	for from, want := range map[string]int{
		"127.0.0.1:1234": http.StatusOK, "[::1]:1234": http.StatusOK,
		"10.0.0.7:1234": http.StatusForbidden, "[fd00::7]:1234": http.StatusForbidden, "": http.StatusForbidden, "localhost:1": http.StatusForbidden,
	} {
		request := httptest.NewRequest(http.MethodGet, "/debug/identities", nil)
		request.RemoteAddr = from
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code != want {
			t.Errorf("from %q: HTTP %d, want %d", from, response.Code, want)
		}
	}
}
