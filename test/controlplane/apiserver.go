package controlplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

// StartAPIServer starts the API server after StopAPIServer or KillAPIServer, with the same
// port, certificate and credentials, and waits until it is ready. The context is only for
// the start. If it returns an error, the API server does not run.
func (cp *ControlPlane) StartAPIServer(ctx context.Context) error {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	if cp.apiServer != nil {
		return errors.New("start kube-apiserver: already running")
	}
	return cp.startAPIServer(ctx)
}

func (cp *ControlPlane) startAPIServer(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	began := time.Now()
	apiServer, err := process.Start(process.Command{
		Path: cp.binaries.apiServer,
		Args: cp.apiServerArgs(),
		Log:  cp.apiServerLog(),
	})
	if err != nil {
		return err
	}
	if err := cp.waitAPIServer(ctx, apiServer); err != nil {
		apiServer.Kill()
		return err
	}
	cp.apiServer, cp.supervised = apiServer, make(chan struct{})
	go cp.supervise(apiServer, cp.supervised) //nolint:gosec // it outlives the start, and so its context
	cp.logf("kube-apiserver is ready after %s", time.Since(began).Round(time.Millisecond))
	return nil
}

// StopAPIServer stops the API server gracefully: it stops listening, ends its watches and
// completes requests. etcd keeps the state.
func (cp *ControlPlane) StopAPIServer(ctx context.Context) error {
	apiServer := cp.takeAPIServer()
	if apiServer == nil {
		return errors.New("stop kube-apiserver: not running")
	}
	ctx, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	return apiServer.Stop(ctx)
}

// KillAPIServer kills the API server like a crash: connections break and responses are
// lost. It does nothing if the API server is not running.
func (cp *ControlPlane) KillAPIServer() {
	if apiServer := cp.takeAPIServer(); apiServer != nil {
		apiServer.Kill()
	}
}

// takeAPIServer returns the running API server, or nil, and the caller must stop it.
func (cp *ControlPlane) takeAPIServer() *process.Process {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	apiServer := cp.apiServer
	cp.apiServer = nil
	return apiServer
}

func (cp *ControlPlane) waitAPIServer(ctx context.Context, apiServer *process.Process) error {
	config := cp.Config()
	config.WrapTransport = nil // the wrapper would wait for this start
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	client.Timeout = requestTimeout
	defer client.CloseIdleConnections()
	return apiServer.WaitReady(ctx, func(ctx context.Context) error {
		return process.ExpectOK(ctx, client, cp.url()+"/readyz")
	})
}

// ServiceRange is the range of cluster IPs in clusters with kube-proxy.
const ServiceRange = "10.96.0.0/24"

// loopbackServiceRange is the range of cluster IPs without kube-proxy. Connections to it are
// refused immediately, as kube-proxy does for a Service without endpoints. In another
// range, the machine's network could let connections time out.
const loopbackServiceRange = "127.96.0.0/24"

// serviceAddress returns the cluster IP of the Service kubernetes: the first of
// ServiceRange.
func serviceAddress() net.IP { return net.IPv4(10, 96, 0, 1) }

func (cp *ControlPlane) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=" + cp.etcdURL(),
		"--secure-port=" + strconv.Itoa(cp.apiServerPort),
		"--cert-dir=" + cp.dir,
		"--tls-cert-file=" + cp.credentials.servingCert,
		"--tls-private-key-file=" + cp.credentials.servingKey,

		"--service-account-issuer=" + cp.Issuer(),
		// By default, discovery would contain the machine's own address, on which the
		// API server does not listen.
		"--service-account-jwks-uri=" + cp.Issuer() + "/openid/v1/jwks",
		"--service-account-signing-key-file=" + cp.credentials.serviceAccountKey,
		"--service-account-key-file=" + cp.credentials.serviceAccountKey,

		"--token-auth-file=" + cp.credentials.tokenFile,
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
	}
	if cp.address == nil {
		args = append(
			args,
			"--bind-address=127.0.0.1",
			"--advertise-address=127.0.0.1",
			// The endpoints of the Service kubernetes must not be loopback addresses, so the
			// reconciler would fail.
			"--endpoint-reconciler-type=none",
			"--service-cluster-ip-range="+loopbackServiceRange,
		)
	} else {
		args = append(args, "--bind-address=0.0.0.0", "--advertise-address="+cp.address.String(), "--service-cluster-ip-range="+ServiceRange)
	}
	return append(args, cp.apiServerFlags...)
}
