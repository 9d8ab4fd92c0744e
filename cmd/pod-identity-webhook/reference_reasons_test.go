package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/docgen"
	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/webhook"
)

// documented is the row of a reason. Its meaning is the Description of the reason, if
// it has one.
type documented struct {
	reason           inject.Reason
	outcome, meaning string
	action           string
}

// Sentences that several rows end with.
const (
	warned    = "The webhook warns about this."
	reportBug = "This is a bug: please report it with the stack from the log."
)

var podReasons = []documented{
	{reason: inject.Injected, outcome: "mutated", action: "The audit annotations `role-arn`, `audience` and `containers` name what was added, and to which containers."},
	{reason: inject.AlreadyInjected, outcome: "unchanged", action: "The pod was copied from an injected pod, or the API server called the webhook twice."},
	{reason: inject.NoContainer, outcome: "mutated, unchanged", action: "See the reason of each container. The webhook still adds the volume, which a container can mount by name."},
	{reason: inject.NoRole, outcome: "unchanged", action: "If it should have a role, check its annotations and `--annotation-prefix`."},
	{reason: inject.ServiceAccountNotFound, outcome: "unchanged", action: "The API server rejects such a pod. Create the ServiceAccount first."},
	{reason: inject.NoServiceAccount, outcome: "unchanged", action: "The API server runs without its admission plugin ServiceAccount. Enable it."},
	{reason: inject.MirrorPod, outcome: "unchanged"},
	{reason: inject.SkipLabel, outcome: "unchanged"},
	{reason: inject.NoTokenVolume, outcome: "unchanged", action: "Ephemeral containers can only use volumes of their pod. Recreate the pod."},
	{reason: webhook.RoleNotPermitted, outcome: "denied", meaning: "the Namespace of the pod does not permit the role, see [role policy](../role-policy.md)", action: "The message names the role and the policy. An ephemeral container is admitted without the role, with a warning."},
	{reason: inject.NotPodCreation, outcome: "unchanged", action: "The rules of the MutatingWebhookConfiguration need not include such requests."},
	{reason: webhook.IdentityUnknown, outcome: "error", meaning: "the webhook could not read the ServiceAccount in time, and its cache is not healthy", action: "The message has the cause. Check the API server and the permissions of the webhook."},
	{reason: httpserver.ClientCertificateMissing, outcome: "error", meaning: "`--client-ca-file` is set, and the client presented no certificate", action: "If the client is the API server, [configure a client certificate](../client-certificates.md). Otherwise no action is needed."},
	{reason: httpserver.ClientCertificateRefused, outcome: "error", meaning: "the client certificate is not valid for `--client-ca-file` and `--client-ca-allowed-names`", action: "The message names the cause: the CA, the expiry, the usage or the name."},
	{reason: httpserver.Overloaded, outcome: "error", meaning: "requests in flight use all memory that the webhook has for them; the status is HTTP 503", action: "API servers retry until their timeout. See [limits](../hardening.md)."},
	{reason: httpserver.BodyTooSlow, outcome: "error", meaning: "the body of the request did not arrive within 5 seconds", action: "API servers send it immediately. Check the network between API server and webhook."},
	{reason: webhook.BadRequest, outcome: "error", meaning: "the request is not an AdmissionReview of a pod", action: "The message names the field and the position in the body."},
	{reason: inject.PatchTooLarge, outcome: "error", action: "The pod has thousands of containers, or its ServiceAccount has annotations of many KiB. Reduce them."},
	{reason: webhook.BodyTooLarge, outcome: "error", meaning: "the body has more than 7 MiB, or its lists and maps would use more than 24 MiB of memory", action: "API servers do not send such bodies. No action is needed."},
	{reason: webhook.UnsupportedMediaType, outcome: "error", meaning: "the Content-Type of the request is not JSON", action: "API servers send JSON. No action is needed."},
	{reason: webhook.InternalError, outcome: "error", meaning: "the webhook could not create the response", action: "This is a bug: please report it."},
	{reason: webhook.Panic, outcome: "error", meaning: "the webhook panicked", action: reportBug},
}

var containerReasons = []documented{
	{reason: inject.Injected, meaning: "the webhook added what the container lacked"},
	{reason: inject.FallbackPath, action: "The warning names the mount that blocks the usual path. To use the usual path, move that mount. See [mounts](../mounts.md)."},
	{reason: inject.AlreadyInjected, meaning: "the container already has the role of its ServiceAccount, also if it reads a token for the right audience from a volume of its own"},
	{reason: inject.SkipContainers},
	{reason: inject.NotIncluded},
	{reason: inject.EnvSetByUser, action: warned + " It names variables with an empty value, which SDKs ignore or reject."},
	{reason: inject.MountOnly, action: warned + " The container sets `AWS_ROLE_ARN`, `AWS_WEB_IDENTITY_TOKEN_FILE`, or the variables of EKS Pod Identity. The webhook keeps them and mounts the token."},
	{reason: inject.TokenPathTaken, action: "The warning names the mounts. Move one of them, or set another `--token-fallback-mount-path`. See [mounts](../mounts.md)."},
}

var serviceAccountReasons = []documented{
	{reason: webhook.ServiceAccountOK, outcome: "unchanged", meaning: "the annotations have no known mistake"},
	{reason: webhook.ServiceAccountMistake, outcome: "unchanged", meaning: "an annotation is probably a mistake", action: "The warning contains the correction."},
	{reason: webhook.ServiceAccountDenied, outcome: "denied", meaning: "an annotation is invalid, and `--serviceaccount-validation` is `deny`", action: "The message contains the correction. Doubtful annotations are only warned about."},
	{reason: webhook.ServiceAccountNotChecked, outcome: "unchanged", meaning: "`--serviceaccount-validation` is `off`, or the request changes no annotation"},
}

var warningReasons = []documented{
	{reason: inject.MalformedAnnotation, action: "The warning names the annotation, its value, and the value that the webhook used instead."},
	{reason: inject.MisplacedAnnotation, action: "The annotation belongs on the ServiceAccount, or its key is misspelled. The warning names the probable key."},
	{reason: inject.UnknownContainer, action: "Correct `skip-containers` or `include-containers`."},
	{reason: inject.IdentityOverridden, action: "The warning names the variable, what SDKs do, and what to change. [SDKs](sdk-compatibility.md#variables-that-keep-an-sdk-from-the-role) lists such variables."},
	{reason: inject.RegionIncomplete, action: "Set `AWS_REGION` and `AWS_DEFAULT_REGION` to the same region, or remove both to use `--aws-default-region`."},
	{reason: inject.ConfigKept, action: "Role chaining uses the pod's annotation `eks.amazonaws.com/aws-config`. Remove it to use that of the ServiceAccount."},
	{reason: inject.VolumeNameTaken, action: "The token is in a volume of another name. Rename your volume to avoid the warning."},
}

// table returns the rows of reasons, with or without a column for the outcome.
func table(t *testing.T, reasons []documented) string {
	t.Helper()
	withOutcome := reasons[0].outcome != ""
	columns := []string{"reason", "outcome", "meaning", "what to do"}
	if !withOutcome {
		columns = []string{"reason", "meaning", "what to do"}
	}
	var text strings.Builder
	text.WriteString(docgen.TableHead(columns...))
	for _, r := range reasons {
		meaning := r.meaning
		if meaning == "" {
			meaning = r.reason.Description()
		}
		if meaning == "" {
			t.Errorf("reason %s has no meaning", r.reason)
		}
		cells := []string{"`" + string(r.reason) + "`", r.outcome, meaning, r.action}
		if !withOutcome {
			cells = append(cells[:1], cells[2:]...)
		}
		text.WriteString(docgen.Row(cells...))
	}
	return text.String()
}

// constants returns the values of the string constants of a Go file that have the type,
// or of all if it is "".
func constants(t *testing.T, file, ofType string) []inject.Reason {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []inject.Reason
	for _, declaration := range parsed.Decls {
		general, ok := declaration.(*ast.GenDecl)
		if !ok || general.Tok != token.CONST {
			continue
		}
		for _, spec := range general.Specs {
			value := spec.(*ast.ValueSpec)
			literal, ok := value.Values[0].(*ast.BasicLit)
			if !ok || literal.Kind != token.STRING || ofType != "" && (value.Type == nil || typeName(value.Type) != ofType) {
				continue
			}
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, inject.Reason(text))
		}
	}
	return values
}

func typeName(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

func TestReference_reasons(t *testing.T) {
	page := "# Reasons\n\nThis page is for anyone who wants to know why the webhook did, or did not, change a pod. " + docgen.Note + `
Each pod that the webhook receives has one reason, and so does each of its containers. The reason of a pod is in:

- the label ` + "`reason` of the metric `pod_identity_webhook_admissions_total`" + `
- the key ` + "`reason` of the log line, with `-v=4` or if there is a warning" + `
- the audit annotation ` + "`pod-identity-webhook.amazonaws.com/reason`" + `, whose part before the slash is the name of the webhook in your MutatingWebhookConfiguration

An error is an HTTP error: the ` + "`failurePolicy` of the MutatingWebhookConfiguration applies to the pod." + `

## Pod reasons

` + table(t, podReasons) + `
## Container reasons

` + table(t, containerReasons) + `
## ServiceAccount reasons

Requests to ` + "`/validate-serviceaccount`" + ` have these reasons.

` + table(t, serviceAccountReasons) + `
## Warning reasons

` + table(t, warningReasons)
	rows := map[inject.Reason]bool{}
	for _, reasons := range [][]documented{podReasons, containerReasons, serviceAccountReasons, warningReasons} {
		for _, r := range reasons {
			rows[r.reason] = true
		}
	}
	count := 0
	for file, ofType := range map[string]string{
		"../../pkg/inject/reason.go": "Reason", "../../pkg/webhook/errors.go": "Reason", "../../pkg/webhook/validate.go": "Reason",
		"../../internal/httpserver/reasons.go": "",
	} {
		found := constants(t, file, ofType)
		if len(found) < 4 {
			t.Errorf("got %d reasons in %s, want at least 4", len(found), file)
		}
		for _, reason := range found {
			count++
			if !rows[reason] {
				t.Errorf("reason %s of %s is not on the page", reason, file)
			}
			if strings.Contains(file, "pkg/inject") && reason.Description() == "" {
				t.Errorf("reason %s has no description", reason)
			}
		}
	}
	if count < len(rows) {
		t.Errorf("got %d reasons on the page, want at most the %d of the code", len(rows), count)
	}
	docgen.Check(t, "../../docs/reference/reasons.md", page, *update)
}
