package webhook_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/ratelimitedlog"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

func post(handler http.Handler, contentType string, body io.Reader) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodPost, "/mutate?timeout=10s", body)
	request.Header.Set("Content-Type", contentType)
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	return response
}

// answerOf posts a review and decodes the response as an API server does.
func answerOf(t *testing.T, handler http.Handler, body []byte) *admissionv1.AdmissionReview {
	t.Helper()
	response := post(handler, "application/json", bytes.NewReader(body))
	if response.Code != http.StatusOK {
		t.Fatalf("HTTP %d: %s", response.Code, response.Body)
	}
	decoder := json.NewDecoder(response.Body)
	decoder.DisallowUnknownFields()
	var review admissionv1.AdmissionReview
	if err := decoder.Decode(&review); err != nil {
		t.Fatal(err)
	}
	return &review
}

func noRole(context.Context, types.NamespacedName) (*identity.Identity, error) {
	return &identity.Identity{Method: identity.WebIdentity}, nil
}

func TestMutate(t *testing.T) {
	smallPatch := `[{"op":"add","path":"/spec/volumes/0","value":{"name":"aws-iam-token","projected":{"sources":[` +
		`{"serviceAccountToken":{"audience":"sts.amazonaws.com","expirationSeconds":86400,"path":"token"}}]}}},` +
		`{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_ROLE_ARN","value":"arn:aws:iam::111122223333:role/cloudwatch-agent"}},` +
		`{"op":"add","path":"/spec/containers/0/env/-","value":{"name":"AWS_WEB_IDENTITY_TOKEN_FILE","value":"/var/run/secrets/eks.amazonaws.com/serviceaccount/token"}},` +
		`{"op":"add","path":"/spec/containers/0/volumeMounts/-","value":{"name":"aws-iam-token","readOnly":true,"mountPath":"/var/run/secrets/eks.amazonaws.com/serviceaccount"}}]`
	change := func(f func(*corev1.Pod)) []byte {
		pod := smallPod()
		f(pod)
		return reviewOf(pod)
	}
	request := func(f func(*admissionv1.AdmissionRequest)) []byte {
		return reviewWith(smallPod(), func(r *admissionv1.AdmissionReview) { f(r.Request) })
	}
	tests := []struct {
		name     string
		resolver resolverFunc
		body     []byte
		reason   inject.Reason
		patch    string
		warnings []string
	}{
		{name: "a pod with an identity is patched", body: reviewOf(smallPod()), reason: inject.Injected, patch: smallPatch},
		{name: "a pod without a role is skipped", resolver: noRole, body: reviewOf(smallPod()), reason: inject.NoRole},
		{
			name: "a pod of a ServiceAccount that is gone is skipped", body: reviewOf(smallPod()),
			resolver: func(context.Context, types.NamespacedName) (*identity.Identity, error) {
				return nil, fmt.Errorf("wrapped: %w", identity.ErrServiceAccountNotFound)
			},
			reason: inject.ServiceAccountNotFound,
		},
		{
			name:   "a pod with the skip label is skipped",
			body:   change(func(p *corev1.Pod) { p.Labels[inject.SkipPodLabel] = "" }),
			reason: inject.SkipLabel,
		},
		{
			name:   "an update is skipped",
			body:   request(func(r *admissionv1.AdmissionRequest) { r.Operation = admissionv1.Update }),
			reason: inject.NotPodCreation,
		},
		{
			name: "a deletion, which has no object, is skipped",
			body: request(func(r *admissionv1.AdmissionRequest) {
				r.Operation = admissionv1.Delete
				r.Object = runtime.RawExtension{Raw: []byte("null")}
			}),
			reason: inject.NotPodCreation,
		},
		{
			name:   "a subresource is skipped",
			body:   request(func(r *admissionv1.AdmissionRequest) { r.SubResource = "ephemeralcontainers" }),
			reason: inject.NotPodCreation,
		},
		{
			name:     "a malformed annotation is warned about",
			body:     change(func(p *corev1.Pod) { p.Annotations = map[string]string{"eks.amazonaws.com/token-expiration": "1h"} }),
			reason:   inject.Injected,
			patch:    smallPatch,
			warnings: []string{`pod-identity-webhook: pod annotation eks.amazonaws.com/token-expiration "1h" is not a number of seconds: 86400 is used`},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.resolver == nil {
				test.resolver = role
			}
			got := answerOf(t, newHandler(test.resolver, io.Discard), test.body)
			if got.APIVersion != "admission.k8s.io/v1" || got.Kind != "AdmissionReview" {
				t.Errorf("got %s %s", got.APIVersion, got.Kind)
			}
			response := got.Response
			if response.UID != testUID || !response.Allowed {
				t.Errorf("got uid %q, allowed %t", response.UID, response.Allowed)
			}
			if string(response.Patch) != test.patch {
				t.Errorf("patch\ngot  %s\nwant %s", response.Patch, test.patch)
			}
			if hasType := response.PatchType != nil; hasType != (test.patch != "") {
				t.Errorf("got a patchType: %t", hasType)
			}
			if got := response.AuditAnnotations["reason"]; got != string(test.reason) {
				t.Errorf("got reason %q, want %q", got, test.reason)
			}
			if strings.Join(response.Warnings, "\n") != strings.Join(test.warnings, "\n") {
				t.Errorf("got warnings %q, want %q", response.Warnings, test.warnings)
			}
		})
	}
}

// TestAuditAnnotations_source checks that the response names a source other than the API
// server, with a role and without one.
func TestAuditAnnotations_source(t *testing.T) {
	for _, id := range []*identity.Identity{
		{RoleARN: "arn:aws:iam::111122223333:role/app", Audience: "sts.amazonaws.com", ExpirationSeconds: 86400},
		{},
	} {
		for _, fromCache := range []bool{false, true} {
			id.FromCache = fromCache
			resolve := func(context.Context, types.NamespacedName) (*identity.Identity, error) { return id, nil }
			annotations := answerOf(t, newHandler(resolve, io.Discard), reviewOf(podWith(container("a", 1)))).Response.AuditAnnotations
			if source, ok := annotations["source"]; ok != fromCache || fromCache && source != "cache" {
				t.Errorf("role %q, from the cache %t: got %v", id.RoleARN, fromCache, annotations)
			}
		}
	}
}

func TestMutate_auditAnnotations(t *testing.T) {
	got := answerOf(t, newHandler(role, io.Discard), reviewOf(podWith(container("a", 1), container("b", 0)))).Response.AuditAnnotations
	want := map[string]string{
		"reason": "injected", "role-arn": "arn:aws:iam::111122223333:role/cloudwatch-agent",
		"audience": "sts.amazonaws.com", "containers": "a,b",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestMutate_v1beta1(t *testing.T) {
	body := reviewWith(smallPod(), func(r *admissionv1.AdmissionReview) { r.APIVersion = "admission.k8s.io/v1beta1" })
	response := post(newHandler(role, io.Discard), "application/json", bytes.NewReader(body))
	var review admissionv1beta1.AdmissionReview
	if err := json.Unmarshal(response.Body.Bytes(), &review); err != nil {
		t.Fatal(err)
	}
	if review.APIVersion != "admission.k8s.io/v1beta1" || review.Kind != "AdmissionReview" {
		t.Errorf("got %s %s", review.APIVersion, review.Kind)
	}
	if review.Response.UID != testUID || len(review.Response.Patch) == 0 {
		t.Errorf("got %+v", review.Response)
	}
}

func TestMutate_badRequest(t *testing.T) {
	const json = "application/json"
	good := string(reviewOf(smallPod()))
	request := func(f func(*admissionv1.AdmissionRequest)) string {
		return string(reviewWith(smallPod(), func(r *admissionv1.AdmissionReview) { f(r.Request) }))
	}
	tests := []struct {
		name, contentType, body string
		status                  int
		message                 string
	}{
		{"a content type with a parameter", "application/json; charset=utf-8", good, 200, ""},
		{"no content type", "", good, 415, "send application/json"},
		{"another content type", "text/yaml", good, 415, `"text/yaml"`},
		{"an invalid content type", "application/json;;", good, 415, "send application/json"},
		{"a body beyond the limit", json, strings.Repeat(" ", 7<<20+1), 413, "7340032 bytes"},
		{"an empty body", json, "", 400, "invalid JSON"},
		{"YAML", json, "kind: AdmissionReview", 400, "invalid JSON"},
		{"half a review", json, good[:len(good)/2], 400, "invalid JSON"},
		{"something after the review", json, good + "x", 400, "invalid JSON"},
		{"a list", json, "[]", 400, "a JSON array cannot be used here"},
		{"no version", json, `{}`, 400, `invalid apiVersion ""`},
		{"an unknown version", json, strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v2", 1), 400, `invalid apiVersion "admission.k8s.io/v2"`},
		{"another kind", json, `{"apiVersion":"admission.k8s.io/v1","kind":"Pod"}`, 400, `invalid kind "Pod"`},
		{"no request", json, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`, 400, "no request"},
		{"no object", json, request(func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte("null") }), 400, "no object"},
		{"an object that is not a pod", json, request(func(r *admissionv1.AdmissionRequest) {
			r.Kind = metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
			r.Object.Raw = []byte(`{"spec":{"template":{}}}`)
		}), 400, `"Deployment" and group "apps"`},
		{"a string as object", json, request(func(r *admissionv1.AdmissionRequest) { r.Object.Raw = []byte(`"pod"`) }), 400, `"/request/object"`},
		{"a pod with an object as env", json, request(func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte(`{"spec":{"containers":[{"env":{"SECRET":"hunter2"}}]}}`)
		}), 400, `"/request/object/spec/containers/0/env"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			response := post(newHandler(role, io.Discard), test.contentType, strings.NewReader(test.body))
			if response.Code != test.status {
				t.Errorf("got HTTP %d, want %d: %s", response.Code, test.status, response.Body)
			}
			if !strings.Contains(response.Body.String(), test.message) {
				t.Errorf("got message %q, want it to contain %q", response.Body, test.message)
			}
		})
	}
}

func TestHandler_methodNotAllowed(t *testing.T) {
	handler := newHandler(role, io.Discard)
	for path, method := range map[string]string{"/mutate": http.MethodGet, "/healthz": http.MethodPost, "/readyz": http.MethodDelete} {
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, httptest.NewRequest(method, path, nil))
		if response.Code != http.StatusMethodNotAllowed || !strings.Contains(response.Body.String(), path) {
			t.Errorf("%s %s: HTTP %d %q", method, path, response.Code, response.Body)
		}
	}
}

func TestMutate_identityUnknown(t *testing.T) {
	unreachable := func(context.Context, types.NamespacedName) (*identity.Identity, error) {
		return nil, errors.New("connection refused")
	}
	response := post(newHandler(unreachable, io.Discard), "application/json", bytes.NewReader(reviewOf(smallPod())))
	if response.Code != http.StatusInternalServerError {
		t.Errorf("got HTTP %d, want 500", response.Code)
	}
	for _, want := range []string{"default/app", "connection refused"} {
		if !strings.Contains(response.Body.String(), want) {
			t.Errorf("got message %q, want it to contain %q", response.Body, want)
		}
	}
}

func TestMutate_rateLimitsErrorLog(t *testing.T) {
	var log bytes.Buffer
	handler := newHandler(func(context.Context, types.NamespacedName) (*identity.Identity, error) {
		return nil, context.DeadlineExceeded
	}, &log)
	for range 100 {
		post(handler, "application/json", bytes.NewReader(reviewOf(smallPod())))
	}
	if lines := strings.Count(log.String(), `"level":"ERROR"`); lines != ratelimitedlog.Burst {
		t.Errorf("got %d lines, want %d: %s", lines, ratelimitedlog.Burst, log.String())
	}
}

func TestMutate_timeout(t *testing.T) {
	for query, want := range map[string]time.Duration{
		"":              9 * time.Second,
		"?timeout=10s":  9 * time.Second,
		"?timeout=1s":   900 * time.Millisecond,
		"?timeout=30s":  27 * time.Second,
		"?timeout=100h": 27 * time.Second,
		"?timeout=-1s":  9 * time.Second,
		"?timeout=x":    9 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			var left time.Duration
			handler := newHandler(func(ctx context.Context, _ types.NamespacedName) (*identity.Identity, error) {
				deadline, _ := ctx.Deadline()
				left = time.Until(deadline)
				return nil, errors.New("not asked for")
			}, io.Discard)
			request := httptest.NewRequest(http.MethodPost, "/mutate"+query, bytes.NewReader(reviewOf(smallPod())))
			request.Header.Set("Content-Type", "application/json")
			handler.ServeHTTP(httptest.NewRecorder(), request)
			if left != want {
				t.Errorf("%q: got a timeout of %s, want %s", query, left, want)
			}
		})
	}
}

func TestServer_panic(t *testing.T) {
	var log bytes.Buffer
	panics := func(context.Context, types.NamespacedName) (*identity.Identity, error) {
		panic("hunter2 of the request")
	}
	server := newServer(panics, slog.NewJSONHandler(&log, nil))
	response := post(server.Handler(), "application/json", bytes.NewReader(reviewOf(smallPod())))
	if response.Code != http.StatusInternalServerError {
		t.Errorf("got HTTP %d, want 500", response.Code)
	}
	if !strings.Contains(log.String(), "TestServer_panic") {
		t.Errorf("got log %s, want a stack", log.String())
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Error("the log has the value of the panic, which may quote the request")
	}
	scrape := scrapeOf(t, server)
	for _, want := range []string{
		`pod_identity_webhook_panics_total 1`,
		`pod_identity_webhook_admissions_total{outcome="error",reason="panic"} 1`,
	} {
		if !strings.Contains(scrape, want) {
			t.Errorf("metrics lack %s", want)
		}
	}
}

func TestLog_noEnvValues(t *testing.T) {
	const secret = "hunter2"
	var log bytes.Buffer
	handler := newHandler(role, &log)
	pod := smallPod()
	pod.Spec.Containers[0].Env = []corev1.EnvVar{{Name: "AWS_PASSWORD", Value: secret}, {Name: "AWS_ROLE_ARN", Value: secret}}
	good := string(reviewOf(pod))
	if got := answerOf(t, handler, []byte(good)).Response; strings.Contains(strings.Join(got.Warnings, ""), secret) {
		t.Errorf("a warning quotes the value: %q", got.Warnings)
	}
	for _, body := range []string{
		strings.Replace(good, `"`+secret+`"`, `{"`+secret+`":1}`, 1),
		strings.Replace(good, `"`+secret+`"`, secret, 1),
		strings.Replace(good, `"value":"`+secret+`"`, `"value":["`+secret+`"]`, 1),
		strings.Replace(good, `{"name":"AWS_PASSWORD"`, `"`+secret+`",{"name":"AWS_PASSWORD"`, 1),
	} {
		if response := post(handler, "application/json", strings.NewReader(body)); response.Code == http.StatusOK {
			t.Errorf("accepted: %s", body)
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines != 5 {
		t.Errorf("got %d log lines, want 5", lines)
	}
	if strings.Contains(log.String(), secret) {
		t.Errorf("the log has the value:\n%s", log.String())
	}
}
