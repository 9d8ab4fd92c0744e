package e2e_test

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// The test runs the steps of make kind-up on an existing cluster, as make cluster-demo does.
func TestWalkthrough(t *testing.T) {
	// The walkthrough installs the chart with other values than the tests.
	t.Cleanup(func() {
		if err := install(context.Background()); err != nil {
			t.Error(err)
		}
	})
	var out bytes.Buffer
	walk := world.Cluster
	walk.Out = io.MultiWriter(&out, t.Output())
	walk.Load = world.host.load
	if err := walk.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"container cloudwatch-agent:\n", "AWS_ENDPOINT_URL_STS=http://local-sts.local-sts.svc:7480\n",
		"  Arn      " + assumed("whoami"),
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output does not contain %q", want)
		}
	}
}
