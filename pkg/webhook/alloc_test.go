//go:build !race

package webhook_test

import (
	"bytes"
	"net/http"
	"os"
	"testing"
)

// The race detector also allocates, so this test runs without it.

// TestAllocations limits the number of allocations of an admission request, including the
// few of the test's own request and recorder. The number does not depend on the machine
// and determines most of the cost. Raise a limit only with a reason; lower it if possible.
func TestAllocations(t *testing.T) {
	for pod, limit := range map[string]float64{"small": 110, "cloudwatch-agent": 138, "large": 152} {
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
		if got > limit {
			t.Errorf("%s: %.0f allocations, want at most %.0f", pod, got, limit)
		}
	}
}
