package objectcache

import (
	"net/http"
	"net/http/httptest"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// TestIsNotFound reads with client-go, in both encodings.
func TestIsNotFound(t *testing.T) {
	const status = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404`
	for name, test := range map[string]struct {
		code              int
		contentType, body string
		want              bool
	}{
		"the API server, about the object":          {404, "application/json", status + `,"details":{"name":"app","kind":"serviceaccounts"}}`, true},
		"the API server, about another object":      {404, "application/json", status + `,"details":{"name":"other","kind":"serviceaccounts"}}`, false},
		"a Status without an object":                {404, "application/json", status + `,"message":"cluster \"app\" not found"}`, false},
		"a path that the API server does not serve": {404, "text/plain; charset=utf-8", "404 page not found\n", false},
		"a page of a proxy":                         {404, "text/html", "<h1>app not found</h1>", false},
		"a page of a proxy without a type":          {404, "", "404 page not found", false},
		"no body":                                   {404, "", "", false},
		"JSON that is not a Status":                 {404, "application/json", `{"message":"app not found"}`, false},
		"a Status of success":                       {404, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Success","details":{"name":"app"}}`, false},
		"protobuf that cannot be decoded":           {404, "application/vnd.kubernetes.protobuf", "k8s", false},
		"another reason, about the object":          {403, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"details":{"name":"app"}}`, false},
		"the object":                                {200, "application/json", `{"kind":"ServiceAccount","apiVersion":"v1","metadata":{"name":"app"}}`, false},
		"an internal error of the API server":       {500, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"InternalError","code":500}`, false},
	} {
		for _, encoding := range []string{"application/json", "application/vnd.kubernetes.protobuf"} {
			t.Run(name+", asked in "+encoding, func(t *testing.T) {
				server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					w.Header()["Content-Type"] = nil // net/http guesses none
					if test.contentType != "" {
						w.Header().Set("Content-Type", test.contentType)
					}
					w.WriteHeader(test.code)
					_, _ = w.Write([]byte(test.body))
				}))
				defer server.Close()
				client, err := corev1client.NewForConfig(&rest.Config{Host: server.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: encoding}})
				if err != nil {
					t.Fatal(err)
				}
				_, err = client.ServiceAccounts("default").Get(t.Context(), "app", metav1.GetOptions{})
				if got := IsNotFound(err, "app"); got != test.want {
					t.Errorf("got %t for %v, want %t", got, err, test.want)
				}
			})
		}
	}
}
