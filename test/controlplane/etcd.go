package controlplane

import (
	"context"
	"net/http"
	"path/filepath"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

func (cp *ControlPlane) startEtcd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	began := time.Now()
	etcd, err := process.Start(process.Command{
		Path: cp.binaries.etcd,
		Args: []string{
			"--data-dir=" + filepath.Join(cp.dir, "etcd"),
			"--listen-client-urls=" + cp.etcdURL(),
			"--advertise-client-urls=" + cp.etcdURL(),
			"--listen-peer-urls=http://" + freeport.Address(cp.etcdPeerPort),
			// The state need not survive a crash of the machine, and fsync is most of the
			// cost of a write.
			"--unsafe-no-fsync",
			// The only member need not wait for others before an election.
			"--heartbeat-interval=10",
			"--election-timeout=100",
			"--log-level=warn",
		},
		Log: filepath.Join(cp.dir, "etcd.log"),
	})
	if err != nil {
		return err
	}
	cp.etcd = etcd
	client := &http.Client{Timeout: requestTimeout}
	if err := etcd.WaitReady(ctx, func(ctx context.Context) error {
		return process.ExpectOK(ctx, client, cp.etcdURL()+"/readyz")
	}); err != nil {
		return err
	}
	cp.logf("etcd is ready after %s", time.Since(began).Round(time.Millisecond))
	return nil
}

// RestartEtcd kills etcd like a crash and starts it again. The API server keeps running. If
// it returns an error, etcd does not run.
func (cp *ControlPlane) RestartEtcd(ctx context.Context) error {
	cp.etcd.Kill()
	cp.etcd = nil
	return cp.startEtcd(ctx)
}

func (cp *ControlPlane) etcdURL() string {
	return "http://" + freeport.Address(cp.etcdPort)
}
