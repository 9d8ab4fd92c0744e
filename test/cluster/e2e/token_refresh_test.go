package e2e_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var tokenRefreshFlag = flag.Bool("outlive", false, "wait until a token with the shortest lifetime has expired, about 15 minutes")

const (
	// shortest is the shortest lifetime of a token that the API server allows for a pod.
	shortest = 10 * time.Minute
	// late is the longest delay of the kubelet. The kubelet renews a token after 80% of its
	// lifetime, the next time that it syncs the pod's volumes.
	late = 5 * time.Minute
)

// The kubelet renews the token before it expires. An application that runs all the
// time, with one SDK client, gets credentials with the new token.
func TestTokenRefresh(t *testing.T) {
	if !*tokenRefreshFlag {
		t.Skip("takes about 15 minutes; run make test-token-refresh")
	}
	namespace := newNamespace(t, nil)
	arn := giveRole(t, namespace, "app")
	createPod(t, namespace, "app", func(pod *corev1.Pod) {
		pod.Annotations = map[string]string{"eks.amazonaws.com/token-expiration": fmt.Sprint(int(shortest.Seconds()))}
		pod.Spec.Containers[0].Args = []string{"renew"}
	})
	first := expectIdentity(t, namespace, "app=app", "app", arn)
	expires := first.Token.Written.Add(shortest)
	var renewed time.Time
	within(t, shortest+late, "the first token has expired", func(ctx context.Context) error {
		got, err := logOutput(ctx, namespace, "app=app", "app")
		if err != nil {
			return err
		}
		if !strings.HasPrefix(got.ARN, arn) {
			t.Fatalf("%s after the token was written: got %+v", got.Time.Sub(first.Token.Written), got)
		}
		if renewed.IsZero() && got.Token.Written.After(first.Token.Written) {
			renewed = got.Token.Written
			t.Logf("token renewed after %s", renewed.Sub(first.Token.Written).Round(time.Second))
		}
		switch {
		case !got.Time.After(expires):
			return fmt.Errorf("the time is %s, the first token expires at %s", got.Time, expires)
		case renewed.IsZero():
			return errors.New("the token was not renewed")
		}
		return nil
	})
	if !renewed.Before(expires) {
		t.Errorf("got a renewed token at %s, want it before the first expired at %s", renewed, expires)
	}
	pods := kubectl(t, "--namespace", namespace, "get", "pod", "app", "--output=jsonpath={.status.containerStatuses[0].restartCount}")
	if pods != "0" {
		t.Errorf("got %s restarts of the container, want 0", pods)
	}
	// No line of its log is an error.
	log := kubectl(t, "--namespace", namespace, "logs", "app")
	if lines := strings.Count(log, "\n"); lines < 100 || strings.Contains(log, `"error"`) {
		t.Errorf("got %d lines of log, want at least 100 and no errors:\n%s", lines, log)
	}
}
