package token_test

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

func TestVolume(t *testing.T) {
	got, err := json.Marshal(token.Volume("aws-iam-token", "sts.amazonaws.com", "token", 86400))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"aws-iam-token","projected":{"sources":[{"serviceAccountToken":{"audience":"sts.amazonaws.com","expirationSeconds":86400,"path":"token"}}]}}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestClampExpiration(t *testing.T) {
	for given, want := range map[int64]int64{
		math.MinInt64: 600, -1: 600, 0: 600, 599: 600, 600: 600, 601: 601, 86400: 86400,
		1 << 32: 1 << 32, 1<<32 + 1: 1 << 32, math.MaxInt64: 1 << 32,
	} {
		if got := token.ClampExpiration(given); got != want {
			t.Errorf("%d: got %d, want %d", given, got, want)
		}
	}
}
