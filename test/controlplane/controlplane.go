// Package controlplane runs a Kubernetes control plane for tests and demos: a
// real etcd and a real kube-apiserver, as processes on loopback, with their
// state in one directory. No scheduler, no controllers and no nodes: pods are
// stored and stay pending, and the default ServiceAccount of a namespace is
// the caller's to create (see CreateNamespace).
//
// The ecosystem's envtest was considered and is not used, for two reasons. Its
// API server makes new credentials each time it starts, so its users are locked
// out by a restart, and restarts are what some tests are about. And it switches
// the ServiceAccount admission plugin off, which puts the volume of the cluster's
// own token into each pod before a webhook sees it.
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

// startTimeout and stopTimeout bound what takes some seconds at most on a free
// machine, with room for a busy one.
const (
	startTimeout = 2 * time.Minute
	stopTimeout  = 30 * time.Second
	// httpsPort is the one that URLs need not name.
	httpsPort = 443
	// requestTimeout bounds one question whether a program is ready.
	requestTimeout = 5 * time.Second
)

// Options say how to start a control plane.
type Options struct {
	// Assets is the directory with the binaries etcd and kube-apiserver; empty
	// means DefaultAssets.
	Assets string
	// Dir is an existing directory, empty at first, for state, credentials and
	// logs. It is the caller's to remove, after Stop.
	Dir string
	// Log is told about progress, one line a step; nil is silent.
	Log io.Writer
	// Issuer is the issuer that tokens name; empty means the API server's own
	// URL, by its Address if it has one. Whatever it is, its documents are served by the API server.
	Issuer string
	// Address is one that nodes reach the API server at, which then listens on
	// all of this network namespace; empty means on loopback alone.
	Address net.IP
	// Users are those beside the one who may do everything.
	Users []User
	// APIServerFlags are further flags of the API server.
	APIServerFlags []string
}

// User is one whom the API server knows by a token.
type User struct {
	Name string
	// Groups are those that it is in.
	Groups []string
}

// ControlPlane is a control plane that runs. Its methods may not be called
// concurrently, except Config, Kubeconfig, Issuer and CABundle.
type ControlPlane struct {
	dir         string
	binaries    binaries
	log         io.Writer
	credentials credentials
	// issuer is what the tokens name; empty means url.
	issuer string
	// address is empty if it is only reached on loopback.
	address net.IP
	// apiServerFlags are those beside the ones that are always given.
	apiServerFlags []string

	etcdPort, etcdPeerPort, apiServerPort int

	etcd *process.Process // nil when stopped

	mu        sync.Mutex
	apiServer *process.Process // nil when stopped
	// supervised is closed when apiServer has ended and supervise has dealt with it.
	supervised chan struct{}
}

// Start starts a control plane and returns when it is ready: the API server
// answers, its issuer can be discovered anonymously, and the namespace default
// has its ServiceAccount. The context bounds the start alone. On failure
// nothing is left running.
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
		// The URL of an issuer may not have a port, says IAM. Who has an address of
		// its own has this one.
		cp.apiServerPort = httpsPort
	}
	if cp.credentials, err = writeCredentials(cp.dir, cp.address, options.Users); err != nil {
		return nil, fmt.Errorf("make the API server's credentials: %w", err)
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
		return fmt.Errorf("make a client: %w", err)
	}
	if err := CreateNamespace(ctx, client, "default"); err != nil {
		return err
	}
	return cp.publishIssuer(ctx, client)
}

// Config returns a configuration for clients that have all permissions and that
// client-go does not rate-limit. The API server limits them by its Priority and
// Fairness. The configuration stays valid across restarts of the API server.
func (cp *ControlPlane) Config() *rest.Config { return cp.ConfigOf(admin) }

// ConfigOf returns one with the rights of a user of Options.
func (cp *ControlPlane) ConfigOf(user string) *rest.Config {
	return &rest.Config{
		WrapTransport: func(next http.RoundTripper) http.RoundTripper { return patientTransport{cp: cp, next: next} },

		Host:            cp.url(),
		BearerToken:     cp.credentials.tokens[user],
		TLSClientConfig: rest.TLSClientConfig{CAData: cp.credentials.caBundle},
		QPS:             -1,
	}
}

// RemoteConfig returns one for clients that reach the API server at the address
// of Options.
func (cp *ControlPlane) RemoteConfig() *rest.Config {
	config := cp.Config()
	config.Host = cp.remoteURL()
	return config
}

// Kubeconfig returns the path of a kubeconfig with the rights of Config.
func (cp *ControlPlane) Kubeconfig() string { return filepath.Join(cp.dir, "kubeconfig") }

// SigningKey returns the path of the private key, PEM, that signs ServiceAccount
// tokens, for tokens that the API server itself would not sign.
func (cp *ControlPlane) SigningKey() string { return cp.credentials.serviceAccountKey }

// Issuer is the URL that the cluster's ServiceAccount tokens name as their
// issuer, and under which, unless Options named another, its discovery document
// and keys are served.
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

// CABundle is the certificate, in PEM, by which clients know the API server.
func (cp *ControlPlane) CABundle() []byte { return cp.credentials.caBundle }

// APIServerPID is the process id of the API server, which must be running.
func (cp *ControlPlane) APIServerPID() int {
	cp.mu.Lock()
	defer cp.mu.Unlock()
	return cp.apiServer.PID()
}

// EtcdPID is the process id of etcd, which must be running.
func (cp *ControlPlane) EtcdPID() int { return cp.etcd.PID() }

// Wait returns nil when the context ends, and an error when the API server or
// etcd has ended by itself before. Neither may be stopped in the meantime.
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

// Stop ends the API server and etcd. The state in Dir is of no further use, so
// neither is given time to save it.
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

// logf writes a line about progress. A log that cannot be written is no reason
// to stop.
func (cp *ControlPlane) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(cp.log, format+"\n", args...)
}
