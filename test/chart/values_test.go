package chart_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/chart"
)

func TestSchema_rejectsInvalidValues(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"misspelled", "replica=3", "replica"},
		{"misspelled in a block", "guard.enable=true", "enable"},
		{"unknown mode", "mode=optin", "/mode"},
		{"debugging on the node's network", "hostNetwork=true,debuggingHandlers=true", "set debuggingHandlers to false"},
		{"unknown failurePolicy", "failurePolicy=fail", "/failurePolicy"},
		{"timeout above the API server's maximum", "timeoutSeconds=31", "/timeoutSeconds"},
		{"no replica", "replicas=0", "/replicas"},
		{"a port that needs root", "port=443", "/port"},
		{"invalid port", "metricsPort=65536", "/metricsPort"},
		{"port used twice", "port=9999", "metricsPort"},
		{"a number for text", "awsAccountID=111122223333", "/awsAccountID"},
		{"text for a number", "tokenExpiration=1h", "/tokenExpiration"},
		{"text for a bool", "watchConfigMap=maybe", "/watchConfigMap"},
		{"too short a lifetime", "tokenExpiration=599", "/tokenExpiration"},
		{"the API server's own audience", "tokenAudience=", "/tokenAudience"},
		{"no name of the Secret", "certificates.source=secret", "/certificates/secretName"},
		{"an unused CA", "certificates.caBundle=-----BEGIN CERTIFICATE-----", "/certificates/caBundle"},
		{"a lifetime without unit", "certificates.certLifetime=720", "/certificates/certLifetime"},
		{"a guard that denies and warns", "guard.validationActions={Deny,Warn}", "/guard/validationActions"},
		{"a guard that does nothing", "guard.validationActions={}", "/guard/validationActions"},
		{"an argument that is not a flag", "extraArgs={foo}", "/extraArgs/0"},
		{"an invalid namespace name", "excludedNamespaces={team_a}", "/excludedNamespaces/0"},
		{"a digest without algorithm", "image.digest=0123", "/image/digest"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := chart.Render(t.Context(), namespace, test.value)
			if err == nil {
				t.Fatalf("%s: got no error", test.value)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: the message does not contain %s: %v", test.value, test.want, err)
			}
		})
	}
}

// TestValues_invalid has values that look right. With them pods would silently get no
// role, would not be created or would not start, or the webhook would not run. Each
// message must contain the name of the value and a valid example.
func TestValues_invalid(t *testing.T) {
	const audience, agentAudience = "sts.amazonaws.com", "pods.eks.amazonaws.com"
	const tokenPath, agent = "/var/run/secrets/eks.amazonaws.com/serviceaccount", "http://169.254.170.23/v1/credentials"
	for _, test := range []struct {
		value, named, example string
	}{
		{"annotationPrefix=eks.amazonaws.com/", "/annotationPrefix", "'eks.amazonaws.com'"},
		{"annotationPrefix=EKS.amazonaws.com", "/annotationPrefix", "'eks.amazonaws.com'"},
		{"annotationPrefix=", "/annotationPrefix", "'eks.amazonaws.com'"},
		{"tokenAudience=sts.amazonaws.com vault", "/tokenAudience", audience},
		{`tokenAudience=sts.amazonaws.com\,vault`, "/tokenAudience", audience},
		{"containerCredentials.audience=", "/containerCredentials/audience", agentAudience},
		{"tokenExpiration=4294967297", "/tokenExpiration", "4.294967296"},
		{"tokenMountPath=../x", "/tokenMountPath", tokenPath},
		{"tokenMountPath=token", "/tokenMountPath", tokenPath},
		{"tokenMountPath=/a/../b", "/tokenMountPath", tokenPath},
		{"tokenMountPath=/a:b", "/tokenMountPath", tokenPath},
		{`tokenMountPath=/a\,b`, "/tokenMountPath", tokenPath},
		{"tokenMountPath=/", "/tokenMountPath", tokenPath},
		{"tokenMountPath=/tmp/", "/tokenMountPath", tokenPath},
		{"tokenMountPath=/proc/token", "/tokenMountPath", tokenPath},
		{"tokenMountPath=/var/run/secrets", "/tokenMountPath", tokenPath},
		{"tokenMountPath=/var/run/secrets/kubernetes.io/serviceaccount", "/tokenMountPath", tokenPath},
		{"awsRegion=EU-WEST-1", "/awsRegion", "eu-west-1"},
		{"awsRegion=eu-west-1a", "/awsRegion", "'eu-west-1'"},
		{"stsEndpoint=sts.eu-west-1.amazonaws.com", "/stsEndpoint", "https://sts.eu-west-1.amazonaws.com"},
		{"stsEndpoint=https://sts.example?a=b", "/stsEndpoint", "https://sts.eu-west-1.amazonaws.com"},
		{"stsEndpoint=https://user@sts.example", "/stsEndpoint", "https://sts.eu-west-1.amazonaws.com"},
		{"containerCredentials.fullURI=", "/containerCredentials/fullURI", agent},
		{"containerCredentials.fullURI=169.254.170.23", "/containerCredentials/fullURI", agent},
		{"containerCredentials.fullURI=http://169.254.169.254/latest", "/containerCredentials/fullURI", agent},
		{"containerCredentials.configMapName=Identities", "/containerCredentials/configMapName", "pod-identity-webhook"},
		{"containerCredentials.configMapKey=a/b", "/containerCredentials/configMapKey", "config.json"},
		{"containerCredentials.configMapKey=..json", "/containerCredentials/configMapKey", "config.json"},
		{"roleSessionName=a b", "/roleSessionName", "pod-name"},
		{"awsAccountID=1111-2222-3333", "/awsAccountID", "111122223333"},
		{"awsPartition=cn", "/awsPartition", "aws"},
		{"serviceAccountLookup=Live", "/serviceAccountLookup", "'live'"},
		{"rolePolicy=deny", "/rolePolicy", "'require'"},
		{"serviceAccountValidation=error", "/serviceAccountValidation", "'deny'"},
		{"serviceAccountValidationFailurePolicy=ignore", "/serviceAccountValidationFailurePolicy", "'Ignore'"},
		{"guard.enabled=auto", "/guard/enabled", "true"},
		{"guard.excludedNamespaces={monitoring}", "/guard/excludedNamespaces", "kube-system"},
		{"guard.excludedNamespaces={}", "/guard/excludedNamespaces", "contains"},
		{"guard.validationActions={deny}", "/guard/validationActions/0", "'Deny'"},
		{"excludedNamespaces={Kube-System}", "/excludedNamespaces/0", "'kube-system'"},
		{"excludedNamespaces={kube_system}", "/excludedNamespaces/0", "'kube-system'"},
		{"excludedNamespaces=kube-system", "/excludedNamespaces", "array"},
		{"excludedNamespaces={team-*}", "/excludedNamespaces/0", "'kube-system'"},
		{"timeoutSeconds=0", "/timeoutSeconds", "1"},
		{"timeoutSeconds=10s", "/timeoutSeconds", "integer"},
		{"goMemLimit=200Mi", "/goMemLimit", "200MiB"},
		{"goMemLimit=200MB", "/goMemLimit", "200MiB"},
		{"goMemLimit=200B", "goMemLimit is 200B", "200MiB"},
		{"goMemLimit=256MiB", "goMemLimit is 256MiB", "resources.limits.memory, which is 256Mi"},
		{"resources.limits.memory=128Mi", "resources.limits.memory, which is 128Mi", "goMemLimit is 200MiB"},
		{"resources.limits.memory=256M", "", ""}, // valid
		{"resources.limits.memory=256MB", "/resources/limits/memory", "256Mi"},
		{"certificates.caLifetime=24h", "certificates.caLifetime is 24h", "8760h and 720h"},
		{"certificates.certLifetime=8760h", "certificates.caLifetime is 8760h", "8760h and 720h"},
		{"certificates.certLifetime=1s", "certificates.certLifetime is 1s", "720h"},
		{"certificates.caLifetime=365d", "/certificates/caLifetime", "8760h"},
		{"certificates.caLifetime=99999999h", "/certificates/caLifetime", "8760h"},
		{"certificates.secretName=My_Secret", "/certificates/secretName", "pod-identity-webhook"},
		{"certificates.certManager.issuerRef.name=company", "certificates.certManager.issuerRef.name is company", "certificates.source: cert-manager"},
		{"clientCANames={kube-apiserver}", "clientCANames is [kube-apiserver]", "clientCAConfigMap"},
		{"clientCAConfigMap=API", "/clientCAConfigMap", "pod-identity-webhook"},
		{"awsAccountID=\"111122223333\"", "/awsAccountID", "111122223333"},
		{"awsPartition=aws-cn", "awsPartition is aws-cn", "awsAccountID"},
		{"tlsMinVersion=TLS1.2", "/tlsMinVersion", "'1.2'"},
		{"tlsCipherSuites={ECDHE-RSA-AES128-GCM-SHA256}", "/tlsCipherSuites/0", "'TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256'"},
		{"image.repository=https://registry.example/irsa", "/image/repository", "registry.example.com/pod-identity-webhook"},
		{"image.repository=registry.example/irsa:v1", "/image/repository", "registry.example.com/pod-identity-webhook"},
		{"image.tag=v1 beta", "/image/tag", "v1.0.0"},
		{"image.pullPolicy=always", "/image/pullPolicy", "'Always'"},
		{"imagePullSecrets={registry}", "/imagePullSecrets/0", "object"},
		{"fullnameOverride=1-webhook", "/fullnameOverride", "pod-identity-webhook"},
		{"replicas=0", "/replicas", "1"},
		{"podDisruptionBudget.maxUnavailable=2", "podDisruptionBudget.maxUnavailable is 2", "such as 1"},
		{"podDisruptionBudget.maxUnavailable=100%", "/podDisruptionBudget/maxUnavailable", "50%"},
		{"commonLabels.a\\ b=c", "/commonLabels", "a b"},
		{"podLabels.team=the team", "/podLabels/team", "a-value"},
		{"podLabels.app\\.kubernetes\\.io/name=other", "podLabels has app.kubernetes.io/name", "example.com/team"},
		{"nodeSelector.team=the team", "/nodeSelector/team", "a-value"},
		{"service.annotations.a\\ b=c", "/service/annotations", "a b"},
		{"prometheusRule.alertLabels.severity=page", "prometheusRule.alertLabels has severity", "team"},
		{"prometheusRule.alertLabels.a-b=c", "/prometheusRule/alertLabels", "a-b"},
		{"webhookAnnotations.cert-manager\\.io/inject-ca-from=a/b", "webhookAnnotations", "certificates.source"},
		{"extraArgs={--kube-api-qps,fast}", "/extraArgs/1", "--kube-api-qps=500"},
		{"extraArgs={-port=443}", "/extraArgs/0", "--kube-api-qps=500"},
		{"extraArgs={--annotation-prefix=x}", "extraArgs has --annotation-prefix", "given by annotationPrefix"},
		{"extraArgs={--compose-role-arn}", "extraArgs has --compose-role-arn", "given by composeRoleARN"},
		{"extraArgs={--role-policy=on}", "extraArgs has --role-policy", "given by rolePolicy"},
		{"extraArgs={-v=4}", "extraArgs has --v", "given by logLevel"},
		{"extraEnv[0].name=GOMEMLIMIT", "extraEnv has GOMEMLIMIT", "goMemLimit"},
		{"serviceMonitor.interval=30x", "/serviceMonitor/interval", "30s"},
		{"shutdownDelaySeconds=-1", "/shutdownDelaySeconds", "0"},
		{"shutdownDelaySeconds=5s", "/shutdownDelaySeconds", "integer"},
		{"service.port=0", "/service/port", "1"},
		{"tokenMountPath=/eks.amazonaws.com/serviceaccount", "tokenFallbackMountPath is /eks.amazonaws.com/serviceaccount", "/aws-token/serviceaccount"},
		{"tokenMountPath=/eks.amazonaws.com/", "tokenFallbackMountPath is /eks.amazonaws.com/serviceaccount", "/aws-token/serviceaccount"},
		{"tokenMountPath=/eks.amazonaws.com/serviceaccount/token", "tokenFallbackMountPath is", "/aws-token/serviceaccount"},
		{"tokenMountPath=/eks.amazonaws.com/token", "", ""}, // valid
		{"tokenFallbackMountPath=/run//secrets/./eks.amazonaws.com", "inside tokenMountPath, which is " + tokenPath, "such as /eks.amazonaws.com/serviceaccount"},
		{"tokenFallbackMountPath=" + tokenPath + "/fallback", "inside tokenMountPath, which is " + tokenPath, "such as /eks.amazonaws.com/serviceaccount"},
		{"tokenFallbackMountPath=" + tokenPath + "-2", "", ""},                                    // valid
		{"tokenFallbackMountPath=/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "", ""}, // valid
		{"certificates.certManager.issuerRef.kind=ClusterIssuer", "certificates.certManager.issuerRef.kind is ClusterIssuer", "certificates.certManager.issuerRef.name, such as"},
		{"certificates.certManager.issuerRef.group=example.com", "certificates.certManager.issuerRef.group is example.com", "certificates.certManager.issuerRef.name, such as"},
		{"resources.requests.cpu=50M", "/resources/requests/cpu", "50m"},
		{"resources.limits.cpu=1Gi", "/resources/limits/cpu", "50m"},
		{"resources.requests.memory=64m", "/resources/requests/memory", "256Mi"},
		{"resources.limits.cpu=1", "", ""},                 // valid
		{"resources.limits.cpu=0.5", "", ""},               // valid
		{"resources.limits.cpu=1500m", "", ""},             // valid
		{"resources.limits.ephemeral-storage=1Gi", "", ""}, // valid
		{"podDisruptionBudget.maxUnavailable=51%", "podDisruptionBudget.maxUnavailable is 51%, that is, 2 pods", "such as 1"},
		{"podDisruptionBudget.maxUnavailable=50%", "", ""}, // valid
		{"enabled=false", "enabled is false", "condition pod-identity-webhook.enabled"},
		{"enabled=true", "", ""}, // valid
		{"metricsPort=8443", "metricsPort are both 8443", "8443 and 9999"},
	} {
		_, err := chart.Render(t.Context(), namespace, test.value)
		switch {
		case test.example == "" && err != nil:
			t.Errorf("%s: %v", test.value, err)
		case test.example == "":
		case err == nil:
			t.Errorf("%s: got no error", test.value)
		case !strings.Contains(err.Error(), test.named) || !strings.Contains(err.Error(), test.example):
			t.Errorf("%s: got %v, want %s and %s", test.value, err, test.named, test.example)
		}
	}
}

// TestValues_invalidTogether has invalid combinations of valid values.
func TestValues_invalidTogether(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   string // "" if valid
	}{
		{[]string{"certificates.source=cert-manager", "certificates.caLifetime=24h"}, "certificates.caLifetime is 24h"},
		{[]string{"certificates.source=cert-manager", "certificates.caLifetime=24h", "certificates.certManager.issuerRef.name=company"}, ""},
		{[]string{"certificates.source=cert-manager", "certificates.certLifetime=30m"}, "at least 1h"},
		{[]string{"certificates.certLifetime=1h30m", "certificates.caLifetime=4h30m"}, ""},
		{[]string{"certificates.certLifetime=1h30m", "certificates.caLifetime=4h29m59s"}, "certificates.caLifetime is 4h29m59s"},
		{[]string{"prometheusRule.enabled=true", "certificates.certLifetime=504h"}, "prometheusRule.certificateDaysLeft.warning is 7"},
		{[]string{"prometheusRule.enabled=true", "certificates.certLifetime=505h"}, ""},
		{[]string{"prometheusRule.enabled=true", "prometheusRule.certificateDaysLeft.critical=10"}, "prometheusRule.certificateDaysLeft.critical is 10"},
		{[]string{"prometheusRule.enabled=true", "prometheusRule.certificateDaysLeft.critical=9"}, ""},
		{[]string{"certificates.source=cert-manager", "certificates.secretName=pod-identity-webhook-ca"}, "certificates.secretName is pod-identity-webhook-ca"},
		{[]string{"certificates.source=cert-manager", "certificates.secretName=irsa-ca", "fullnameOverride=irsa"}, "such as irsa-tls"},
		{[]string{"certificates.source=cert-manager", "certificates.secretName=pod-identity-webhook-ca", "certificates.certManager.issuerRef.name=company"}, ""},
		{[]string{"certificates.secretName=pod-identity-webhook-ca"}, ""},
		{[]string{"containerCredentials.configMapName=a", "tokenFallbackMountPath=/run/secrets/pods.eks.amazonaws.com"}, "such as /eks.amazonaws.com/serviceaccount"},
		{[]string{"containerCredentials.configMapName=a", "extraArgs={--container-credentials-token-mount-path=/eks.amazonaws.com}"}, "such as /aws-token/serviceaccount"},
		{[]string{"replicas=3", "podDisruptionBudget.maxUnavailable=66%"}, ""},
		{[]string{"replicas=3", "podDisruptionBudget.maxUnavailable=67%"}, "maxUnavailable is 67%, that is, 3 pods"},
		{[]string{"replicas=1", "podDisruptionBudget.maxUnavailable=99%"}, ""},
		{[]string{"extraMatchConditions[0].name=a", "extraMatchConditions[0].expression=a", "extraMatchConditions[1].name=b", "extraMatchConditions[1].expression=b"}, ""},
		{[]string{"extraMatchConditions[0].name=a", "extraMatchConditions[0].expression=a", "extraMatchConditions[1].name=a", "extraMatchConditions[1].expression=b"}, "extraMatchConditions has a"},
		{[]string{"composeRoleARN=true", "awsPartition=aws-cn"}, "awsPartition is aws-cn"},
		{[]string{"composeRoleARN=true", "awsPartition=aws-cn", "awsAccountID=1"}, "/awsAccountID"},
		{[]string{"serviceAccountValidation=off", "serviceAccountValidationFailurePolicy=Fail"}, "serviceAccountValidationFailurePolicy is Fail"},
		{[]string{"replicas=1", "podDisruptionBudget.maxUnavailable=1"}, ""},
		{[]string{"podDisruptionBudget.enabled=false", "podDisruptionBudget.maxUnavailable=5"}, ""},
		{[]string{"goMemLimit=", "resources.limits.memory=64Mi"}, ""},
		{[]string{"goMemLimit=400MiB", "resources.limits.memory=0.5Gi"}, ""},
		{[]string{"goMemLimit=209715200", "resources.limits.memory=209715201"}, "/goMemLimit"}, // --set makes it a number
		{[]string{"resources.limits.memory=null"}, ""},
		{[]string{"resources.limits=null", "goMemLimit=8GiB"}, ""},
		{[]string{"certificates.source=secret", "certificates.secretName=a", "webhookAnnotations.cert-manager\\.io/inject-ca-from=a/b"}, ""},
		{[]string{"certificates.source=secret", "certificates.secretName=a", "certificates.caBundle=-----BEGIN CERTIFICATE----- -----BEGIN EC PRIVATE KEY-----"}, "/certificates/caBundle"},
	} {
		_, err := chart.Render(t.Context(), namespace, test.values...)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%v: got %v, want %q", test.values, err, test.want)
		}
	}
	// Names of releases may have dots and begin with digits; names of Services may not.
	for _, release := range []string{"my.release", "1-release"} {
		_, err := chart.TemplateOf(t.Context(), release, namespace)
		if err == nil || !strings.Contains(err.Error(), "fullnameOverride") || !strings.Contains(err.Error(), release) {
			t.Errorf("release %s: got %v, want an error with fullnameOverride", release, err)
		}
	}
}

// TestValues_conditions checks that extraMatchConditions cannot reuse the names of the chart's own conditions.
func TestValues_conditions(t *testing.T) {
	manifests, err := chart.Render(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	objects := decode(t, manifests)
	names := []string{one[*admissionregistrationv1.ValidatingAdmissionPolicy](t, objects).Spec.MatchConditions[0].Name}
	for _, e := range entries(t, objects) {
		if e.resource == "pods" {
			names = append(names, e.conditions...)
		}
	}
	for _, name := range names {
		_, err := chart.Render(t.Context(), namespace, "extraMatchConditions[0].name="+name, "extraMatchConditions[0].expression=a")
		if err == nil || !strings.Contains(err.Error(), "extraMatchConditions has "+name) {
			t.Errorf("%s: got %v, want an error with its name", name, err)
		}
	}
}

// TestValues_annotationsOfHelm checks that no value for annotations accepts Helm's own.
// With one of them Helm would keep a webhook configuration after an uninstallation.
func TestValues_annotationsOfHelm(t *testing.T) {
	tested := 0
	var test func(path []string, schema map[string]any)
	test = func(path []string, schema map[string]any) {
		if schema["$ref"] == "#/definitions/annotations" {
			tested++
			name := strings.Join(path, ".")
			_, err := chart.Render(t.Context(), namespace, name+`.helm\.sh/resource-policy=keep`)
			if want := name + " has helm.sh/resource-policy"; err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		}
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			if property, is := property.(map[string]any); is {
				test(append(slices.Clone(path), name), property)
			}
		}
	}
	test(nil, readChart(t, "values.schema.json"))
	if tested < 10 {
		t.Errorf("got %d values, want at least 10", tested)
	}
}

// TestValues_caBundle compares the schema with the PEM decoder of Go, the language of the
// API server. The API server reports an invalid caBundle only when it calls the webhook.
func TestValues_caBundle(t *testing.T) {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	begin, _, _ := strings.Cut(certificate, "\n")
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("key")}))
	for bundle, want := range map[string]bool{
		certificate:                      true,
		strings.TrimSpace(certificate):   true,
		"\n" + certificate + "\n\n":      true,
		certificate + certificate:        true,
		certificate + "\n" + certificate: true,
		"# CN=Root-CA X-1\nIssuer:\n" + certificate + "# Another\n" + certificate: true,
		strings.ReplaceAll(certificate, "\n", "\r\n"):                             true,
		strings.ReplaceAll(certificate, "\n", "  \n"):                             true,
		strings.Join(strings.Fields(certificate), " "):                            false, // folded by YAML's ">-"
		strings.ReplaceAll(certificate, "\n", ""):                                 false,
		strings.ReplaceAll(certificate, "\n", `\n`):                               false,
		"  " + strings.ReplaceAll(certificate, "\n", "\n  "):                      false,
		certificate[:len(certificate)/2]:                                          false,
		certificate + certificate[:len(certificate)/2]:                            false,
		certificate[:len(certificate)/2] + "\n" + certificate:                     false,
		begin:        false,
		begin + "\n": false,
		" ":          false,
		"\n":         false,
		"ca.crt":     false,
		base64.StdEncoding.EncodeToString([]byte(certificate)): false,
		key:               false,
		key + certificate: false,
		certificate + key: false,
	} {
		values := map[string]any{"certificates": map[string]any{"source": "secret", "secretName": "serving", "caBundle": bundle}}
		manifests, err := chart.Template(t.Context(), namespace, "--values="+writeYAML(t, values))
		if !want {
			if err == nil || !strings.Contains(err.Error(), "/certificates/caBundle") {
				t.Errorf("%q: got %v, want an error with certificates.caBundle", bundle, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", bundle, err)
			continue
		}
		got := one[*admissionregistrationv1.MutatingWebhookConfiguration](t, decode(t, manifests)).Webhooks[0].ClientConfig.CABundle
		if string(got) != bundle || !x509.NewCertPool().AppendCertsFromPEM(got) {
			t.Errorf("got %q, want %q", got, bundle)
		}
	}
}

// TestNotes checks the notes about pods while the webhook cannot be called.
func TestNotes(t *testing.T) {
	const guard, nodes = "unless the guard denies them", "Add the namespaces of pods that nodes need"
	for values, want := range map[string][]string{
		"failurePolicy=":                         {guard},
		"guard.enabled=false":                    nil,
		"failurePolicy=Fail":                     {nodes},
		"failurePolicy=Fail,mode=opt-in":         nil,
		"failurePolicy=Ignore,mode=opt-in":       {guard},
		"mode=opt-in,guard.enabled=false":        nil,
		"failurePolicy=Fail,guard.enabled=false": {nodes},
	} {
		notes, err := chart.Notes(t.Context(), namespace, "--set="+values)
		if err != nil {
			t.Fatal(err)
		}
		for _, sentence := range []string{guard, nodes} {
			if got := strings.Contains(string(notes), sentence); got != slices.Contains(want, sentence) {
				t.Errorf("%s: got %q: %t\n%s", values, sentence, got, notes)
			}
		}
	}
}

// TestValues_flags checks that extraArgs cannot repeat a flag that the chart sets.
func TestValues_flags(t *testing.T) {
	content, err := os.ReadFile(filepath.Join(chart.Path(), "templates", "_args.tpl"))
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`"--?([a-z][a-z-]*)[="]`).FindAllStringSubmatch(string(content), -1)
	if len(flags) < 20 {
		t.Fatalf("got only %d flags in the template", len(flags))
	}
	for _, flag := range flags {
		_, err := chart.Render(t.Context(), namespace, "extraArgs={--"+flag[1]+"=x}")
		if err == nil || !strings.Contains(err.Error(), "extraArgs has --"+flag[1]+":") {
			t.Errorf("--%s: got %v, want an error with the value to use", flag[1], err)
		}
	}
}

// TestValues_cipherSuites compares the schema with the cipher suites that the webhook accepts.
func TestValues_cipherSuites(t *testing.T) {
	var schema struct {
		Properties struct {
			TLSCipherSuites struct {
				Items struct {
					Enum []string
				}
			}
		}
	}
	content, err := os.ReadFile(filepath.Join(chart.Path(), "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &schema); err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		want = append(want, suite.Name)
	}
	got := schema.Properties.TLSCipherSuites.Items.Enum
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestSchema_complete finds a value that is only in values.yaml or only in the schema.
// Helm would reject the chart's own defaults, or accept a value without effect.
func TestSchema_complete(t *testing.T) {
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
	defaults["global"], defaults["enabled"] = nil, nil // for charts that depend on this one
	compare(t, "", defaults, schema)
}

func compare(t *testing.T, path string, values, schema map[string]any) {
	t.Helper()
	properties, has := schema["properties"].(map[string]any)
	if !has {
		return // the API server validates Kubernetes types
	}
	for key := range properties {
		if _, has := values[key]; !has && path != ".affinity" && path != ".updateStrategy" && path != ".resources" {
			t.Errorf("%s.%s is in the schema but not in values.yaml", path, key)
		}
	}
	for key, value := range values {
		property, has := properties[key].(map[string]any)
		if !has {
			t.Errorf("%s.%s is in values.yaml but not in the schema", path, key)
			continue
		}
		if value, is := value.(map[string]any); is {
			compare(t, path+"."+key, value, property)
		}
	}
}

func TestValues_documented(t *testing.T) {
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
		if strings.Contains(row, "| . Default: ") {
			t.Errorf("no description of %s", row)
		}
	}
	if rows < 50 {
		t.Errorf("got %d rows in the table", rows)
	}
}

func TestRender_deterministic(t *testing.T) {
	forEachValues(t, func(t *testing.T, values string, first []byte) {
		second, err := chart.Template(t.Context(), namespace, "--values="+values, "--is-upgrade")
		if err != nil {
			t.Fatal(err)
		}
		if string(first) != string(second) {
			t.Error("an upgrade renders other manifests than an installation")
		}
	})
}

// TestTemplates_noRandomOrLookup finds template functions whose results change with time,
// cluster or chance, which --is-upgrade does not show. Only the caBundle may be looked
// up, because the API server calls a webhook as soon as an upgrade creates it.
func TestTemplates_noRandomOrLookup(t *testing.T) {
	action := regexp.MustCompile(`\{\{[^/].*?\}\}`)
	unsteady := regexp.MustCompile(`(?:^|[\s(|])(lookup|now|uuidv4|shuffle|rand\w+|gen[A-Z]\w+|getHostByName)\b`)
	templates, err := filepath.Glob(filepath.Join(chart.Path(), "templates", "*"))
	if err != nil || len(templates) == 0 {
		t.Fatalf("got no templates: %v", err)
	}
	for _, template := range templates {
		content, err := os.ReadFile(template)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range action.FindAllString(string(content), -1) {
			function := unsteady.FindString(found)
			if filepath.Base(template) == "_cabundle.tpl" && strings.HasSuffix(function, "lookup") {
				continue // it needs a cluster; TestUpgrade_previousReleaseAndBack has one
			}
			if function != "" {
				t.Errorf("%s uses%s: %s", filepath.Base(template), function, found)
			}
		}
	}
}
