package rolepolicy_test

import (
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/rolepolicy"
)

func TestEvaluate_expensiveRegexp(t *testing.T) {
	for name, test := range map[string]struct{ expression, role, fault string }{
		"too long":                       {strings.Repeat("x|", 2000) + "app", "arn:aws:iam::111122223333:role/app", "longer than"},
		"too many repetitions":           {strings.Repeat("(x?){1000}", 4) + "app", "arn:aws:iam::111122223333:role/app", "too large"},
		"a role longer than STS accepts": {".*", "arn:aws:iam::111122223333:role/" + strings.Repeat("a", 2048), "is not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			err := rolepolicy.Evaluate(rolepolicy.On, "eks.amazonaws.com", "team-a", map[string]string{rolepolicy.KiamAnnotation: test.expression}, test.role)
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("got %v", err)
			}
		})
	}
}
