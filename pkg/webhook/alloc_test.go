//go:build !race

package webhook_test

import (
	"bytes"
	"net/http"
	"os"
	"testing"
)

// The race detector allocates, too, so without it.

// TestAllocations bounds how often an admission allocates, with the few times that
// the request and the recorder of the test itself do: it does not depend on the
// machine, and most of what an admission costs follows from it. A higher number needs a
// reason; lower ones are to be kept.
func TestAllocations(t *testing.T) {
	for pod, most := range map[string]float64{"small": 110, "cloudwatch-agent": 138, "large": 152} {
		body, err := os.ReadFile("../../test/bench/testdata/" + pod + ".json")
		if err != nil {
			t.Fatal(err)
		}
		handler := quietHandler()
		got := testing.AllocsPerRun(200, func() {
			response := post(handler, "application/json", bytes.NewReader(body))
			if response.Code != http.StatusOK {
				t.Fatal(response.Body)
			}
		})
		if got > most {
			t.Errorf("%s: %.0f allocations, want at most %.0f", pod, got, most)
		}
	}
}
