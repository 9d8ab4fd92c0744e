package integrations_test

import (
	"encoding/json"
	"os"
	"testing"
)

func dashboardQueries(t *testing.T) []string {
	t.Helper()
	content, err := os.ReadFile("../../deploy/helm/pod-identity-webhook/dashboards/pod-identity-webhook.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct{ Targets []struct{ Expr string } }
	}
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	var exprs []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			exprs = append(exprs, target.Expr)
		}
	}
	return exprs
}
