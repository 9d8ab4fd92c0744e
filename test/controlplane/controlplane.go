// Package controlplane runs a Kubernetes control plane for tests and demos. A real etcd and
// a real kube-apiserver run as processes on loopback, with their state in one directory. The
// control plane has no scheduler, controllers or nodes. Pods are stored and stay pending, and
// the caller creates the default ServiceAccount of a namespace (see CreateNamespace).
//
// It does not use envtest, for two reasons. First, envtest creates new credentials at each
// start of the API server, so clients lose access after a restart, and some tests are about
// restarts. Second, envtest disables the ServiceAccount admission plugin. That plugin adds
// the volume with the token for the API server to each pod before a webhook is called.
package controlplane

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
)

// startTimeout and stopTimeout are limits for steps that take a few seconds on an idle
// machine.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
	// httpsPort is the default port of https URLs.
	httpsPort = 443
	// requestTimeout is the limit for one readiness request.
	requestTimeout = 5 * time.Second
)

// Options are the options of Start.
type Options struct {
	// Assets is the directory with the binaries etcd and kube-apiserver; empty
	// means DefaultAssets.
	Assets string
	// Dir is an existing empty directory for state, credentials and logs. The caller
	// removes it after Stop.
	Dir string
	// Log gets a line per step; nil is silent.
	Log io.Writer
	// Issuer is the issuer of tokens; empty means the URL of the API server, with Address
	// if that is set. The API server always serves the issuer's documents.
	Issuer string
	// Address is the address at which nodes reach the API server, which then listens on
	// all interfaces of this network namespace; empty means only loopback.
	Address net.IP
	// Users are additional users.
	Users []User
	// APIServerFlags are additional flags of the API server.
	APIServerFlags []string
}

// User is a user with a static token.
type User struct {
	Name string
	// Groups are the groups of the user.
	Groups []string
}

// ControlPlane is a running control plane. Its methods must not be called concurrently,
// except Config, Kubeconfig, Issuer and CABundle.
type ControlPlane struct {
	dir         string
	binaries    binaries
	log         io.Writer
	credentials credentials
	// issuer is the issuer of tokens; empty means url.
	issuer string
	// address is empty if the API server listens only on loopback.
	address net.IP
	// apiServerFlags are the additional flags.
	apiServerFlags []string

	etcdPort, etcdPeerPort, apiServerPort int

	etcd *process.Process // nil when stopped

	mu        sync.Mutex
	apiServer *process.Process // nil when stopped
	// supervised is closed when apiServer has exited and supervise has handled it.
	supervised chan struct{}
}

// Start starts a control plane and waits until it is ready. It is ready when the API server
// responds, its issuer is readable without credentials, and the namespace default has its
// ServiceAccount. The context is only for the start. If Start returns an error, nothing runs.
func Start(ctx context.Context, options Options) (*ControlPlane, error) {
	binaries, err := findBinaries(options.Assets)
	if err != nil {
		return nil, err
	}
	cp := &ControlPlane{
		dir: options.Dir, binaries: binaries, log: options.Log, issuer: options.Issuer, address: options.Address,
		apiServerFlags: options.APIServerFlags,
	}
	if cp.log == nil {
		cp.log = io.Discard
	}
	for _, port := range []*int{&cp.etcdPort, &cp.etcdPeerPort, &cp.apiServerPort} {
		if *port, err = freeport.FreePort(ctx); err != nil {
			return nil, err
		}
	}
	if cp.address != nil {
		// IAM does not allow a port in the URL of an issuer. With its own address, the API
		// server can use the default port.
		cp.apiServerPort = httpsPort
	}
	if cp.credentials, err = writeCredentials(cp.dir, cp.address, options.Users); err != nil {
		return nil, fmt.Errorf("create credentials of the API server: %w", err)
	}
	if err := WriteKubeconfig(cp.Kubeconfig(), cp.Config()); err != nil {
		return nil, err
	}
	if err := cp.start(ctx); err != nil {
		cp.kill()
		return nil, err
	}
	return cp, nil
}

func (cp *ControlPlane) start(ctx context.Context) error {
	if err := cp.startEtcd(ctx); err != nil {
		return err
	}
	if err := cp.StartAPIServer(ctx); err != nil {
		return err
	}
	if err := cp.bindAdmin(ctx); err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cp.Config())
	if err != nil {
		return fmt.Errorf("create client: %w", err)
	}
	if err := CreateNamespace(ctx, client, "default"); err != nil {
		return err
	}
	return cp.publishIssuer(ctx, client)
}

// Config returns a client configuration with all permissions and without client-go's rate
// limit. API Priority and Fairness limits the requests. The configuration stays valid
// when the API server restarts.
func (cp *ControlPlane) Config() *rest.Config { return cp.ConfigOf(admin) }

// ConfigOf returns a configuration with the permissions of a user in Options.
func (cp *ControlPlane) ConfigOf(user string) *rest.Config {
	return &rest.Config{
		WrapTransport: func(next http.RoundTripper) http.RoundTripper { return retryTransport{cp: cp, next: next} },

		Host:            cp.url(),
		BearerToken:     cp.credentials.tokens[user],
		TLSClientConfig: rest.TLSClientConfig{CAData: cp.credentials.caBundle},
		QPS:             -1,
	}
}

// RemoteConfig returns a configuration for clients that reach the API server at the address
// in Options.
func (cp *ControlPlane) RemoteConfig() *rest.Config {
	config := cp.Config()
	config.Host = cp.remoteURL()
	return config
}

// Kubeconfig returns the path of a kubeconfig with the permissions of Config.
func (cp *ControlPlane) Kubeconfig() string { return filepath.Join(cp.dir, "kubeconfig") }

// SigningKey returns the path of the PEM file with the private key of ServiceAccount tokens.
// Tests use it for tokens that the API server would not issue.
func (cp *ControlPlane) SigningKey() string { return cp.credentials.serviceAccountKey }

// Issuer returns the issuer URL in the cluster's ServiceAccount tokens. Its discovery
// document and keys are served there, unless Options has another issuer.
func (cp *ControlPlane) Issuer() string {
	switch {
	case cp.issuer != "":
		return cp.issuer
	case cp.address != nil:
		return cp.remoteURL()
	default:
		return cp.url()
	}
}

// CABundle returns the PEM certificate with which clients verify the API server.
func (cp *ControlPlane) CABundle() []byte { return cp.credentials.caBundle }

// APIServerPID returns the process ID of the API server, which must be running.
func (cp *ControlPlane) APIServerPID() int {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return cp.apiServer.PID()
}

// EtcdPID returns the process ID of etcd, which must be running.
func (cp *ControlPlane) EtcdPID() int { return cp.etcd.PID() }

// Wait returns nil when the context ends. It returns an error if the API server or etcd
// exits before that. Neither may be stopped in the meantime.
func (cp *ControlPlane) Wait(ctx context.Context) error {
	cp.mu.Lock()
	apiServer := cp.apiServer
	cp.mu.Unlock()
	select {
	case <-ctx.Done():
		return nil
	case <-cp.etcd.Ended():
		return cp.etcd.UnexpectedEnd()
	case <-apiServer.Ended():
		return apiServer.UnexpectedEnd()
	}
}

// Stop kills the API server and etcd. The state in Dir is not needed anymore, so they get no
// time to save it.
func (cp *ControlPlane) Stop() { cp.kill() }

func (cp *ControlPlane) kill() {
	cp.KillAPIServer()
	if cp.etcd != nil {
		cp.etcd.Kill()
		cp.etcd = nil
	}
}

func (cp *ControlPlane) url() string {
	return "https://" + freeport.Address(cp.apiServerPort)
}

func (cp *ControlPlane) remoteURL() string {
	return "https://" + cp.address.String()
}

// logf writes a line about the progress. It ignores write errors.
func (cp *ControlPlane) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(cp.log, format+"\n", args...)
}
