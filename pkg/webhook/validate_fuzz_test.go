package webhook_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/jsonreader"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// FuzzServiceAccount writes a ServiceAccount with any two annotations. It must be denied
// only if one of them is invalid. Messages must stay within their limits, and old mistakes
// must never block a write.
func FuzzServiceAccount(f *testing.F) {
	const prefix = "eks.amazonaws.com"
	for _, seed := range [][4]string{
		{prefix + "/role-arn", "arn:aws:iam::111122223333:role/app", prefix + "/audience", "sts.amazonaws.com"},
		{prefix + "/role-arn", "arn:aws:iam::123:user/app ", prefix + "/token-expiration", "1h"},
		{prefix + "/role-arn", "arn:minio:iam:::role/app", prefix + "/sts-endpoint", "https://a:b@sts.example.com?c#d"},
		{prefix + "/target-role-arn", "app", prefix + "/target-external-id", "a\nb"},
		{prefix + "/role_arn", "\xff", "eks.amazon.com/role-arn", strings.Repeat("ü", 300)},
		{prefix + "/sts-regional-endpoints", "", prefix + "/role-session-name", "pod-name"},
		{prefix + "/skip-containers", "a", "iam.amazonaws.com/role", "app"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3])
	}
	server := newServer(role, slog.DiscardHandler, func(config *webhook.Config) {
		config.ValidateServiceAccount = webhook.ValidateServiceAccount(webhook.ValidationDeny, lint.Rules{Prefix: prefix}, slog.New(slog.DiscardHandler))
	}).Handler()

	f.Fuzz(func(t *testing.T, key, value, otherKey, otherValue string) {
		object, err := json.Marshal(map[string]any{"metadata": map[string]any{
			"name": "app", "annotations": map[string]string{key: value, otherKey: otherValue},
		}})
		if err != nil {
			t.Fatal(err)
		}
		write := func(operation admissionv1.Operation, old []byte) *admissionv1.AdmissionResponse {
			body := reviewWith(smallPod(), func(review *admissionv1.AdmissionReview) {
				review.Request.Kind = metav1.GroupVersionKind{Version: "v1", Kind: "ServiceAccount"}
				review.Request.Operation = operation
				review.Request.Object.Raw, review.Request.OldObject.Raw = object, old
			})
			request := httptest.NewRequest(http.MethodPost, "/validate-serviceaccount", bytes.NewReader(body))
			request.Header.Set("Content-Type", "application/json")
			response := httptest.NewRecorder()
			server.ServeHTTP(response, request)
			var review admissionv1.AdmissionReview
			if err := json.Unmarshal(response.Body.Bytes(), &review); err != nil || response.Code != http.StatusOK {
				t.Fatalf("HTTP %d: %s", response.Code, response.Body)
			}
			return review.Response
		}

		// Decoding replaces invalid UTF-8.
		var read webhook.ServiceAccount
		if err := jsonreader.Read(object, math.MaxInt, read.Read); err != nil {
			t.Fatal(err)
		}
		hard := slices.ContainsFunc(lint.Account(read.Annotations, lint.Rules{Prefix: prefix}), func(f lint.Finding) bool { return f.Invalid })
		created := write(admissionv1.Create, nil)
		if created.Allowed == hard {
			t.Errorf("got allowed %t with an invalid annotation %t", created.Allowed, hard)
		}
		if created.Result != nil && len(created.Result.Message) > 4096 {
			t.Errorf("got a denial of %d bytes", len(created.Result.Message))
		}
		if len(created.Warnings) > 5 {
			t.Errorf("got %d warnings", len(created.Warnings))
		}
		for _, warning := range created.Warnings {
			if utf8.RuneCountInString(warning) > 120 || !strings.HasPrefix(warning, "pod-identity-webhook: ") {
				t.Errorf("%q", warning)
			}
		}
		if again := write(admissionv1.Update, object); !again.Allowed || len(again.Warnings) > 0 {
			t.Errorf("an old mistake is reported: %+v", again)
		}
	})
}
