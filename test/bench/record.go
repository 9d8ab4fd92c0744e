package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
)

const (
	// callInterval and callTimeout are for the wait until an API server applies a webhook
	// configuration, which takes it about a second.
	callInterval = 50 * time.Millisecond
	callTimeout  = 30 * time.Second
)

// record starts a control plane, creates the pods as controllers do, and stores the
// AdmissionReviews that its API server sends.
func record(ctx context.Context, progress io.Writer) (err error) {
	pods, err := recordedPods()
	if err != nil {
		return err
	}
	cluster, dir, remove, err := startControlPlane(ctx, progress)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	admin, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		return err
	}
	recorder, err := startRecorder(ctx, dir)
	if err != nil {
		return err
	}
	defer recorder.close()
	if err := recorder.register(ctx, admin); err != nil {
		return err
	}
	for _, pod := range pods {
		body, err := recordPod(ctx, cluster, admin, recorder, pod)
		if err != nil {
			return fmt.Errorf("record %s: %w", pod.name, err)
		}
		path := filepath.Join(recordingsDir(), pod.name+".json")
		if err := os.WriteFile(path, body, 0o644); err != nil { //nolint:gosec // a file of the repository
			return err
		}
		fmt.Fprintf(progress, "%s: %d bytes\n", path, len(body))
	}
	return nil
}

// recordPod creates the pod as its controller does and returns the AdmissionReview.
func recordPod(ctx context.Context, cluster *controlplane.ControlPlane, admin kubernetes.Interface, recorder *recorder, pod recordedPod) ([]byte, error) {
	namespace := pod.pod.Namespace
	if err := controlplane.CreateNamespace(ctx, admin, namespace); err != nil {
		return nil, err
	}
	if err := createAccount(ctx, admin, namespace, pod.pod.Spec.ServiceAccountName, nil); err != nil {
		return nil, err
	}
	controller, err := controllerClient(ctx, cluster, admin, pod.controller)
	if err != nil {
		return nil, err
	}
	if _, err := controller.CoreV1().Pods(namespace).Create(ctx, pod.pod, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	return recorder.last(), nil
}

// controllerClient returns a client with the name and the permissions of a controller of
// kube-controller-manager.
func controllerClient(ctx context.Context, cluster *controlplane.ControlPlane, admin kubernetes.Interface, name string) (kubernetes.Interface, error) {
	if err := createAccount(ctx, admin, metav1.NamespaceSystem, name, nil); err != nil {
		return nil, err
	}
	token, err := admin.CoreV1().ServiceAccounts(metav1.NamespaceSystem).CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("create token of %s: %w", name, err)
	}
	config := rest.AnonymousClientConfig(cluster.Config())
	config.BearerToken = token.Status.Token
	config.UserAgent = "kube-controller-manager"
	return kubernetes.NewForConfig(config)
}

// createAccount creates a ServiceAccount, unless it exists.
func createAccount(ctx context.Context, client kubernetes.Interface, namespace, name string, annotations map[string]string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations}}
	_, err := client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create ServiceAccount %s/%s: %w", namespace, name, err)
	}
	return nil
}

// recorder is a webhook that admits everything and stores the last AdmissionReview.
type recorder struct {
	url         string
	certificate certificate
	server      *http.Server

	mu   sync.Mutex
	body []byte
}

func startRecorder(ctx context.Context, dir string) (*recorder, error) {
	certificate, err := newCertificate(dir)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &recorder{url: "https://" + listener.Addr().String(), certificate: certificate}
	r.server = &http.Server{Handler: http.HandlerFunc(r.admit), ReadHeaderTimeout: requestTimeout}
	go func() { _ = r.server.ServeTLS(listener, certificate.file, certificate.key) }()
	return r, nil
}

func (r *recorder) close() { _ = r.server.Close() }

func (r *recorder) admit(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		http.Error(w, "not an AdmissionReview", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.body = body
	r.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(admissionv1.AdmissionReview{
		TypeMeta: review.TypeMeta,
		Response: &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true},
	})
}

// last returns the last review and clears it.
func (r *recorder) last() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	body := r.body
	r.body = nil
	return bytes.Clone(body)
}

// register creates the webhook configuration of the recorder, and waits until the API server
// sends it each new pod.
func (r *recorder) register(ctx context.Context, client kubernetes.Interface) error {
	configuration := &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "recorder"},
		Webhooks: []admissionregistrationv1.MutatingWebhook{{
			Name:                    "recorder.example.com",
			ClientConfig:            admissionregistrationv1.WebhookClientConfig{CABundle: r.certificate.pem, URL: new(r.url + "/mutate")},
			SideEffects:             new(admissionregistrationv1.SideEffectClassNone),
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if _, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx, configuration, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create webhook configuration of the recorder: %w", err)
	}
	probe := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "probe"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "probe", Image: "probe"}}},
	}
	err := wait.PollUntilContextTimeout(ctx, callInterval, callTimeout, true, func(ctx context.Context) (bool, error) {
		_, err := client.CoreV1().Pods("default").Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return r.last() != nil, err
	})
	if err != nil {
		return fmt.Errorf("wait until the API server calls the recorder: %w", err)
	}
	return nil
}
