package imds_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/imds"
)

// metadataService starts a fake instance metadata service. It responds only to requests with a
// session token (IMDSv2).
func metadataService(t *testing.T, documents map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const token = "session"
		if r.Method == http.MethodPut && r.URL.Path == "/latest/api/token" {
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", r.Header.Get("X-Aws-Ec2-Metadata-Token-Ttl-Seconds"))
			_, _ = w.Write([]byte(token))
			return
		}
		document, ok := documents[r.URL.Path]
		switch {
		case r.Header.Get("X-Aws-Ec2-Metadata-Token") != token:
			w.WriteHeader(http.StatusUnauthorized)
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = w.Write([]byte(document))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

const (
	documentPath  = "/latest/dynamic/instance-identity/document"
	partitionPath = "/latest/meta-data/services/partition"
)

func TestAccount(t *testing.T) {
	for _, partition := range []string{"aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"} {
		got, err := imds.Account(t.Context(), metadataService(t, map[string]string{
			documentPath:  `{"accountId":"111122223333","region":"some-region-1"}`,
			partitionPath: partition,
		}))
		if err != nil {
			t.Fatal(err)
		}
		if want := (identity.Account{Partition: partition, ID: "111122223333"}); *got != want {
			t.Errorf("got %+v, want %+v", *got, want)
		}
	}
}

func TestAccount_invalid(t *testing.T) {
	for name, documents := range map[string]map[string]string{
		"no document":       {partitionPath: "aws"},
		"no partition":      {documentPath: `{"accountId":"111122223333"}`},
		"no account":        {documentPath: `{}`, partitionPath: "aws"},
		"invalid document":  {documentPath: `<html>`, partitionPath: "aws"},
		"invalid partition": {documentPath: `{"accountId":"111122223333"}`, partitionPath: "<html>"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := imds.Account(t.Context(), metadataService(t, documents))
			if err == nil || !strings.Contains(err.Error(), "instance metadata service") {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}
