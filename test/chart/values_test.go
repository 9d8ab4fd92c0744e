package chart_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

func TestAValueThatIsWrongIsRefusedByName(t *testing.T) {
	for _, test := range []struct{ name, value, told string }{
		{"misspelt", "replica=3", "replica"},
		{"misspelt in a block", "guard.enable=true", "enable"},
		{"unknown mode", "mode=optin", "/mode"},
		{"debugging on the node's network", "hostNetwork=true,debuggingHandlers=true", "set debuggingHandlers to false"},
		{"unknown failurePolicy", "failurePolicy=fail", "/failurePolicy"},
		{"more seconds than the API server waits", "timeoutSeconds=31", "/timeoutSeconds"},
		{"no replica", "replicas=0", "/replicas"},
		{"a port that needs root", "port=443", "/port"},
		{"no port", "metricsPort=65536", "/metricsPort"},
		{"one port for two things", "port=9999", "metricsPort"},
		{"a number for text", "awsAccountID=111122223333", "/awsAccountID"},
		{"text for a number", "tokenExpiration=1h", "/tokenExpiration"},
		{"text for a bool", "watchConfigMap=maybe", "/watchConfigMap"},
		{"too short a lifetime", "tokenExpiration=599", "/tokenExpiration"},
		{"an audience of the API server itself", "tokenAudience=", "/tokenAudience"},
		{"a Secret that is not named", "certificates.source=secret", "/certificates/secretName"},
		{"a CA that nothing uses", "certificates.caBundle=-----BEGIN CERTIFICATE-----", "/certificates/caBundle"},
		{"a lifetime without unit", "certificates.certLifetime=720", "/certificates/certLifetime"},
		{"a guard that denies and warns", "guard.validationActions={Deny,Warn}", "/guard/validationActions"},
		{"a guard that does nothing", "guard.validationActions={}", "/guard/validationActions"},
		{"an argument that is no flag", "extraArgs={foo}", "/extraArgs/0"},
		{"no namespace", "excludedNamespaces={team_a}", "/excludedNamespaces/0"},
		{"a digest without algorithm", "image.digest=0123", "/image/digest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := chart.Render(t.Context(), namespace, test.value)
			if err == nil {
				t.Fatalf("%s is taken", test.value)
			}
			if !strings.Contains(err.Error(), test.told) {
				t.Errorf("%s: the message does not name %s: %v", test.value, test.told, err)
			}
		})
	}
}

// TestTheSchemaHasEachValue finds a value that was added to one and not to the
// other: helm would refuse the chart's own defaults, or take a value that does
// nothing.
func TestTheSchemaHasEachValue(t *testing.T) {
	var defaults, schema map[string]any
	for file, into := range map[string]*map[string]any{"values.yaml": &defaults, "values.schema.json": &schema} {
		content, err := os.ReadFile(filepath.Join(chart.Path(), file))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.UnmarshalStrict(content, into); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
	}
	defaults["global"] = nil // helm's own
	compare(t, "", defaults, schema)
}

func compare(t *testing.T, path string, values, schema map[string]any) {
	t.Helper()
	properties, has := schema["properties"].(map[string]any)
	if !has {
		return // a type of Kubernetes, which the API server judges
	}
	for key := range properties {
		if _, has := values[key]; !has && path != ".affinity" && path != ".updateStrategy" && path != ".resources" {
			t.Errorf("the schema has %s.%s, values.yaml has not", path, key)
		}
	}
	for key, value := range values {
		property, has := properties[key].(map[string]any)
		if !has {
			t.Errorf("values.yaml has %s.%s, the schema has not", path, key)
			continue
		}
		if value, is := value.(map[string]any); is {
			compare(t, path+"."+key, value, property)
		}
	}
}

func TestEachValueIsExplained(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart.Path(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for row := range strings.Lines(string(content)) {
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		rows++
		if strings.HasSuffix(row, "|  |\n") {
			t.Errorf("no word about %s", row)
		}
	}
	if rows < 50 {
		t.Errorf("the table has %d rows", rows)
	}
}

func TestTheSameValuesGiveTheSameManifests(t *testing.T) {
	forEachValues(t, func(t *testing.T, values string, first []byte) {
		second, err := chart.Template(t.Context(), namespace, "--values="+values, "--is-upgrade")
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) {
			t.Error("an upgrade gives others than an installation")
		}
	})
}

// TestNothingIsRandomOrLookedUp has what --is-upgrade does not show: functions
// whose results change with the time, the cluster or chance.
func TestNothingIsRandomOrLookedUp(t *testing.T) {
	action := regexp.MustCompile(`\{\{[^/].*?\}\}`)
	unsteady := regexp.MustCompile(`(?:^|[\s(|])(lookup|now|uuidv4|shuffle|rand\w+|gen[A-Z]\w+|getHostByName)\b`)
	templates, err := filepath.Glob(filepath.Join(chart.Path(), "templates", "*"))
	if err != nil || len(templates) == 0 {
		t.Fatalf("there are no templates: %v", err)
	}
	for _, template := range templates {
		content, err := os.ReadFile(template)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range action.FindAllString(string(content), -1) {
			if function := unsteady.FindString(found); function != "" {
				t.Errorf("%s uses%s: %s", filepath.Base(template), function, found)
			}
		}
	}
}
