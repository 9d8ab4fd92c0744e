package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/process"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/repopath"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/webhookprocess"
)

// server is a running server.
type server struct {
	caller
	pid int
	// metricsURL is empty for servers other than the webhook.
	metricsURL string
	stop       func()
}

const startTimeout = time.Minute

// startWebhook starts the built webhook with the environment of its Deployment.
func startWebhook(ctx context.Context, kubeconfig, dir string, environment []string, args ...string) (*server, error) {
	webhook, err := webhookprocess.Start(ctx, webhookprocess.Options{
		Kubeconfig: kubeconfig, Dir: dir, Env: environment, Args: args,
	})
	if err != nil {
		return nil, err
	}
	return &server{
		caller: newCaller(webhook.URL(), certificate{pem: webhook.CABundle()}.trusted()),
		pid:    webhook.PID(), metricsURL: webhook.MetricsURL(), stop: webhook.Kill,
	}, nil
}

// startConstantServer starts the program constantserver.
func startConstantServer(ctx context.Context, dir string, environment []string, args ...string) (*server, error) {
	return startProcess(ctx, dir, "readyz", process.Command{Path: repopath.Path("bin", "bench-constantserver"), Env: environment, Args: args})
}

// readArgs returns the flags with which constantserver reads a ServiceAccount before each
// response, with the credentials of config.
func readArgs(config *rest.Config, dir string) ([]string, error) {
	ca, token := filepath.Join(dir, "read-ca.pem"), filepath.Join(dir, "read-token")
	if err := os.WriteFile(ca, config.CAData, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(token, []byte(config.BearerToken), 0o600); err != nil {
		return nil, err
	}
	return []string{
		"--read=" + config.Host + "/api/v1/namespaces/default/serviceaccounts/default", "--read-ca=" + ca, "--read-token=" + token,
	}, nil
}

// startReference starts amazon-eks-pod-identity-webhook.
func startReference(ctx context.Context, binary, kubeconfig, dir string) (*server, error) {
	metricsPort, err := freeport.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	return startProcess(ctx, dir, "healthz", process.Command{Path: binary, Args: []string{
		"--in-cluster=false", "--kubeconfig=" + kubeconfig, "--metrics-port=" + strconv.Itoa(metricsPort),
	}})
}

// startProcess starts a program with flags for a port and a certificate in addition to its
// own. It waits until the program reports at the path that it is ready.
func startProcess(ctx context.Context, dir, path string, command process.Command) (*server, error) {
	certificate, err := newCertificate(dir)
	if err != nil {
		return nil, err
	}
	port, err := freeport.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	command.Args = append(command.Args, "--port="+strconv.Itoa(port), "--tls-cert="+certificate.file, "--tls-key="+certificate.key)
	command.Log = filepath.Join(dir, "log")
	started, err := process.Start(command)
	if err != nil {
		return nil, err
	}
	s := &server{caller: newCaller("https://"+freeport.Address(port), certificate.trusted()), pid: started.PID(), stop: started.Kill}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	err = started.WaitReady(ctx, func(ctx context.Context) error { return process.ExpectOK(ctx, s.client, s.url+"/"+path) })
	if err != nil {
		started.Kill()
		return nil, err
	}
	return s, nil
}

// deployedEnvironment returns the environment of the webhook's container in its Deployment,
// such as garbage collector settings, so that the measurements are realistic.
func deployedEnvironment() ([]string, error) {
	manifest, err := os.ReadFile(repopath.Path("deploy", "kustomize", "base", "deployment.yaml"))
	if err != nil {
		return nil, err
	}
	var deployment appsv1.Deployment
	if err := yaml.Unmarshal(manifest, &deployment); err != nil {
		return nil, fmt.Errorf("read Deployment of the webhook: %w", err)
	}
	environment := []string{} // nil would mean this program's environment
	for _, container := range deployment.Spec.Template.Spec.Containers {
		for _, variable := range container.Env {
			if variable.ValueFrom == nil {
				environment = append(environment, variable.Name+"="+variable.Value)
			}
		}
	}
	return environment, nil
}

// liveReads returns the number of ServiceAccounts that the webhook has read from the API
// server, and 0 for other servers.
func (s *server) liveReads(ctx context.Context) (int, error) {
	if s.metricsURL == "" {
		return 0, nil
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.metricsURL, nil)
	if err != nil {
		return 0, err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	scrape, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^pod_identity_webhook_live_reads_total\{result="\w+"\} (\S+)$`).FindAllSubmatch(scrape, -1)
	if found == nil {
		return 0, fmt.Errorf("%s has no metric of live reads", s.metricsURL)
	}
	all := 0.0
	for _, of := range found {
		reads, err := strconv.ParseFloat(string(of[1]), 64)
		if err != nil {
			return 0, err
		}
		all += reads
	}
	return int(all), nil
}
