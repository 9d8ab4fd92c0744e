package inject_test

import (
	"encoding/json"
	"strings"

	"pgregory.net/rapid"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/inject/testcases"
)

// podGenerator generates random pods with the fields that the webhook reads. They have
// its volume, variables and paths far more often than real pods, in every state. They are
// JSON and not corev1.Pods, so that they can have empty lists and unknown fields.
type podGenerator struct {
	*rapid.T
	settings testcases.Settings
}

// directory, file and audience return the properties of the token.
func (d *podGenerator) directory() string {
	if d.settings.ContainerCredentials {
		return d.settings.Inject().ContainerCredentials.MountPath
	}
	return strings.TrimSuffix(d.settings.MountPath, "/")
}

func (d *podGenerator) file() string {
	if d.settings.ContainerCredentials {
		return d.settings.Inject().ContainerCredentials.TokenPath
	}
	return "token"
}

func (d *podGenerator) audience() string {
	if d.settings.ContainerCredentials {
		return "pods.eks.amazonaws.com"
	}
	return "sts.amazonaws.com"
}

const roleARN = "arn:aws:iam::111122223333:role/app"

// randomSettings returns random settings of the webhook.
func randomSettings(t *rapid.T) testcases.Settings {
	settings := testcases.Defaults()
	settings.Region = rapid.SampledFrom([]string{"", "eu-west-1"}).Draw(t, "region")
	settings.RegionalSTS = rapid.Bool().Draw(t, "regional STS")
	settings.SessionName = rapid.SampledFrom([]string{"", "", "pod-name", "fixed"}).Draw(t, "session name")
	settings.STSEndpoint = rapid.SampledFrom([]string{"", "", "https://sts.example.com"}).Draw(t, "STS endpoint")
	settings.ContainerCredentials = rapid.IntRange(0, 4).Draw(t, "container credentials") == 0
	settings.MountPath = rapid.SampledFrom([]string{settings.MountPath, "/var/run/secrets/eks.amazonaws.com/serviceaccount/", "/token"}).Draw(t, "mount path")
	settings.AnnotationPrefix = rapid.SampledFrom([]string{settings.AnnotationPrefix, "irsa.example.com"}).Draw(t, "prefix")
	return settings
}

// randomServiceAccount returns random annotations of a ServiceAccount, usually with a role.
func randomServiceAccount(t *rapid.T, prefix string) map[string]string {
	d := podGenerator{T: t}
	annotations := map[string]string{
		prefix + "/role-arn": d.oneOf("role-arn", roleARN, roleARN, roleARN, "arn:minio:iam:::role/dummy", ""),
	}
	for _, of := range []struct {
		annotation string
		values     []string
	}{
		{"target-role-arn", []string{"", "", "arn:aws:iam::444455556666:role/target"}},
		{"target-external-id", []string{"the-id", "x\ny"}},
		{"role-session-name", []string{"pod-name", "a b", ""}},
		{"sts-endpoint", []string{"https://sts.example.com", "x"}},
		{"audience", []string{"", "vault", "sts.amazonaws.com"}},
		{"sts-regional-endpoints", []string{"true", "false", "yes", ""}},
		{"token-expiration", []string{"", "600", "1", "-1", "3600", "4294967297", "1h"}},
	} {
		if d.oneInTwo(of.annotation) {
			annotations[prefix+"/"+of.annotation] = d.oneOf(of.annotation, of.values...)
		}
	}
	return annotations
}

// pod returns a random pod that is being created.
func (d *podGenerator) pod() []byte { return d.encode(d.document()) }

func (d *podGenerator) encode(document any) []byte {
	encoded, err := json.Marshal(document)
	if err != nil {
		d.Fatalf("encode pod: %v", err)
	}
	return encoded
}

func (d *podGenerator) document() map[string]any {
	names := []string{"app", "log", "proxy", "init", "a,b"}
	spec := map[string]any{"serviceAccountName": "app", "futureField": map[string]any{"number": json.Number("9007199254740993")}}
	d.set(spec, "os", func() any { return map[string]any{"name": d.oneOf("os", "windows", "linux")} })
	d.set(spec, "nodeSelector", func() any {
		return map[string]any{
			d.oneOf("selector", "kubernetes.io/os", "beta.kubernetes.io/os", "zone"): d.oneOf("selected", "windows", "linux"),
		}
	})
	d.set(spec, "volumes", func() any { return d.list("volume", 3, d.volume) })
	spec["containers"] = d.list("container", 3, func() any { return d.container(d.oneOf("name", names...)) })
	d.set(spec, "initContainers", func() any {
		return d.list("init container", 2, func() any { return d.container(d.oneOf("name", names...)) })
	})

	metadata := map[string]any{}
	d.set(metadata, "name", func() any { return d.oneOf("pod name", "app", "a", "", strings.Repeat("long-name.", 20)+"x") })
	d.set(metadata, "generateName", func() any { return "app-" })
	d.set(metadata, "annotations", func() any {
		return map[string]any{
			d.settings.AnnotationPrefix + "/skip-containers":                d.oneOf("skip", "", "app", "app,init", `"a,b",log`, `"app`, "app, log", "\napp"),
			d.settings.AnnotationPrefix + "/include-containers":             d.oneOf("include", "", "", "", "app, log", "nobody"),
			"eks.amazonaws.com/" + d.oneOf("config", "aws-config", "other"): "[default]",
			d.settings.AnnotationPrefix + "/role-session-name":              d.oneOf("session", "", "", "pod-name", "of-pod", "a b"),
			d.settings.AnnotationPrefix + "/token-expiration":               d.oneOf("expiration", "", "600", "599", "3600", "4294967297", "x"),
		}
	})
	d.set(metadata, "labels", func() any {
		return map[string]any{d.oneOf("label", "app", "app", podIdentityLabel, "eks.amazonaws.com/skip-pod-identity-webhook"): "app"}
	})
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
}

func (d *podGenerator) container(name string) map[string]any {
	container := map[string]any{"name": name, "image": image, "futureField": []any{map[string]any{"name": name}}}
	d.set(container, "env", func() any { return d.list("variable", 6, d.variable) })
	d.set(container, "volumeMounts", func() any { return d.list("mount", 3, d.mount) })
	if d.oneInTen("device") {
		container["volumeDevices"] = []any{map[string]any{"name": "disk", "devicePath": d.path()}}
	}
	return container
}

func (d *podGenerator) variable() any {
	variable := map[string]any{"name": d.oneOf("variable", append([]string{"GREETING", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"}, envOrder()...)...)}
	file := d.directory() + "/" + d.oneOf("reported file", d.file(), d.file(), "config")
	switch kind := d.oneOf("value", "role", "role", "agent", "one", "file", "own file", "own file", "windows file", "other", "empty", "elsewhere", "none"); kind {
	case "role":
		variable["value"] = roleARN
	case "agent":
		variable["value"] = d.settings.Inject().ContainerCredentials.FullURI
	case "one":
		variable["value"] = "1"
	case "file":
		variable["value"] = file
	case "own file":
		variable["value"] = d.oneOf("own file", "/own/"+d.file(), "/own/jwt", "/own/sub/token", "/own", "/own/./"+d.file(), "/own/../own/jwt", "/own/$(X)", `C:\own\jwt`)
	case "windows file":
		variable["value"] = `C:` + strings.ReplaceAll(file, "/", `\`)
	case "other":
		variable["value"] = "other"
	case "empty":
		variable["value"] = ""
	case "elsewhere":
		variable["valueFrom"] = map[string]any{"fieldRef": map[string]any{"fieldPath": "metadata.name"}}
	}
	return variable
}

func (d *podGenerator) volumeName() string {
	ours := "aws-iam-token"
	if d.settings.ContainerCredentials {
		ours = "eks-pod-identity-token"
	}
	return d.oneOf("volume", "data", "aws-iam-token", ours, ours, ours+"-2", ours+"-3")
}

func (d *podGenerator) volume() any {
	volume := map[string]any{"name": d.volumeName()}
	switch d.oneOf("kind of volume", "directory", "token", "token", "no token", "future") {
	case "directory":
		volume["emptyDir"] = map[string]any{}
	case "token":
		sources := d.list("source", 2, func() any {
			return map[string]any{"serviceAccountToken": map[string]any{
				"audience": d.oneOf("audience", d.audience(), d.audience(), "vault", ""),
				"path":     d.oneOf("file", d.file(), d.file(), "jwt", "jwt", "sub/token"),
			}}
		})
		if d.oneInTwo("configuration") {
			sources = append(sources, map[string]any{"downwardAPI": map[string]any{"items": []any{map[string]any{
				"path":     d.oneOf("config file", "config", "config", "other"),
				"fieldRef": map[string]any{"fieldPath": "metadata.annotations['" + d.oneOf("config field", configAnnotation, configAnnotation, "other") + "']"},
			}}}})
		}
		volume["projected"] = map[string]any{"sources": sources}
	case "no token":
		volume["projected"] = map[string]any{"sources": []any{map[string]any{"secret": map[string]any{"name": "token"}}}}
	case "future":
		volume["futureKind"] = map[string]any{"name": "x"}
	}
	return volume
}

func (d *podGenerator) mount() any {
	mount := map[string]any{"name": d.volumeName(), "mountPath": d.path()}
	if d.oneInTen("subPath") {
		mount[d.oneOf("kind of subPath", "subPath", "subPathExpr")] = d.oneOf("subPath", "token", "sub", "jwt", "$(X)")
	}
	return mount
}

// path returns a random path: the token's, one near it, or another spelling of it.
func (d *podGenerator) path() string {
	directory := d.directory()
	return d.oneOf("path",
		"/data", "/own", "/own", "/own/", "/own/sub", "/", directory, directory, directory+"/", directory[1:], "/."+directory, strings.ReplaceAll(directory, "/", "//"),
		directory+"/"+d.file(), directory+"/token/", directory+"s", directory+"/../token", "/var/run/secrets",
		"C:"+directory, "c:"+strings.ReplaceAll(directory, "/", `\`), strings.ReplaceAll(directory, "/", `\`))
}

// set sets a field, or leaves it absent, null or empty.
func (d *podGenerator) set(object map[string]any, name string, value func() any) {
	switch d.oneOf(name, "absent", "null", "there", "there", "there") {
	case "null":
		object[name] = nil
	case "there":
		object[name] = value()
	}
}

// list returns a random list, which may be empty.
func (d *podGenerator) list(label string, longest int, element func() any) []any {
	list := make([]any, 0, longest)
	for range rapid.IntRange(0, longest).Draw(d.T, "number of "+label) {
		list = append(list, element())
	}
	return list
}

func (d *podGenerator) oneOf(label string, values ...string) string {
	return rapid.SampledFrom(values).Draw(d.T, label)
}

func (d *podGenerator) oneInTwo(label string) bool { return rapid.Bool().Draw(d.T, label) }

func (d *podGenerator) oneInTen(label string) bool { return rapid.IntRange(0, 5).Draw(d.T, label) == 5 }
