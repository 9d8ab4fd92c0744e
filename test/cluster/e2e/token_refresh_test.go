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

var tokenRefreshFlag = flag.Bool("outlive", false, "wait until a token of the shortest lifetime has expired, which takes a quarter of an hour")

const (
	// shortest is the least that the API server gives a token for a pod.
	shortest = 10 * time.Minute
	// late is by how much the kubelet may be late: it renews a token after four
	// fifths of its lifetime, when it next looks at the pod's volumes.
	late = 5 * time.Minute
)

// The kubelet writes a new token in time, and an application that runs all the
// while, with one client of the SDK, gets credentials for it.
func TestTokenRefresh(t *testing.T) {
	if !*tokenRefreshFlag {
		t.Skip("it takes a quarter of an hour: make test-token-refresh runs it")
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
			t.Fatalf("%s after the token was written, it says %+v", got.Time.Sub(first.Token.Written), got)
		}
		if renewed.IsZero() && got.Token.Written.After(first.Token.Written) {
			renewed = got.Token.Written
			t.Logf("a new token was written after %s", renewed.Sub(first.Token.Written).Round(time.Second))
		}
		switch {
		case !got.Time.After(expires):
			return fmt.Errorf("it is %s, and it expires at %s", got.Time, expires)
		case renewed.IsZero():
			return errors.New("no new token was written")
		}
		return nil
	})
	if !renewed.Before(expires) {
		t.Errorf("the new token came at %s, and the first had expired at %s", renewed, expires)
	}
	pods := kubectl(t, "--namespace", namespace, "get", "pod", "app", "--output=jsonpath={.status.containerStatuses[0].restartCount}")
	if pods != "0" {
		t.Errorf("the container was restarted %s times", pods)
	}
	// Nothing that it said in between was an error.
	log := kubectl(t, "--namespace", namespace, "logs", "app")
	if lines := strings.Count(log, "\n"); lines < 100 || strings.Contains(log, `"error"`) {
		t.Errorf("of %d lines, some are errors:\n%s", lines, log)
	}
}
