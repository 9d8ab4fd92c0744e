package sdks_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	agentPath     = "/v1/credentials"
	agentAudience = "pods.eks.amazonaws.com"
	// listed is the ServiceAccount of pods with container credentials.
	listed = "listed"
)

// newAgent starts a fake agent of EKS Pod Identity, because AWS's service for the real one is
// not available. It verifies the token in the Authorization header with the API server, and
// returns credentials of MinIO.
func newAgent(t *testing.T, w *world) *httptest.Server {
	t.Helper()
	agent := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, r *http.Request) {
		review, err := w.client.AuthenticationV1().TokenReviews().Create(r.Context(), &authenticationv1.TokenReview{
			Spec: authenticationv1.TokenReviewSpec{Token: r.Header.Get("Authorization"), Audiences: []string{agentAudience}},
		}, metav1.CreateOptions{})
		switch {
		case r.URL.Path != agentPath:
			http.NotFound(answer, r)
			return
		case err != nil:
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		case review.Status.User.Username != "system:serviceaccount:default:"+listed:
			http.Error(answer, "no token of "+listed, http.StatusUnauthorized)
			return
		}
		credentials, err := w.minio.TemporaryCredentials(r.Context())
		if err != nil {
			http.Error(answer, err.Error(), http.StatusInternalServerError)
			return
		}
		answer.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(answer).Encode(map[string]string{
			"AccessKeyId": credentials.AccessKeyID, "SecretAccessKey": credentials.SecretAccessKey, "Token": credentials.SessionToken,
			"Expiration": credentials.Expires.UTC().Format(time.RFC3339),
		})
	}))
	t.Cleanup(agent.Close)
	return agent
}

// agentFlags returns flags for container credentials for the listed ServiceAccount.
func agentFlags(t *testing.T, agent *httptest.Server, directory string) []string {
	t.Helper()
	list := filepath.Join(t.TempDir(), "identities.json")
	writeFile(t, list, fmt.Appendf(nil, `{"identities":[{"namespace":"default","serviceAccount":%q}]}`, listed))
	return []string{
		"--watch-container-credentials-config=" + list,
		"--container-credentials-full-uri=" + agent.URL + agentPath,
		"--container-credentials-token-mount-path=" + directory,
	}
}

// testContainerCredentials makes each SDK get credentials from the agent.
func testContainerCredentials(t *testing.T, w *world, found []sdk) {
	c := w.create(t, listed, pod{directory: w.agentDir})
	for _, s := range found {
		t.Run(s.name, func(t *testing.T) {
			got := s.run(t, c, nil, "store", w.minio.URL(), bucket, "key", content)
			switch {
			case s.noTokenFile && (got.Content != "" || got.Error.Message == ""):
				t.Errorf("got %+v, want an error, because the SDK does not read AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", got)
			case !s.noTokenFile && got != answer{Content: content}:
				t.Errorf("got %+v, want the object", got)
			}
		})
	}
}
