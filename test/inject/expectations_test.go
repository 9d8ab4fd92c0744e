package inject_test

import (
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// What role chaining and EKS Pod Identity put into a pod's metadata.
const (
	configAnnotation = "eks.amazonaws.com/aws-config"
	podIdentityLabel = "eks.amazonaws.com/pod-identity"
)

// fromElsewhere stands for the value of a variable that has none in the pod.
const fromElsewhere = "(from elsewhere)"

// envOrder is that of AWS's own webhook, and then ours.
func envOrder() []string {
	return []string{
		"AWS_STS_REGIONAL_ENDPOINTS", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SDK_LOAD_CONFIG",
		"AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS",
	}
}

// stsSessionName is what STS takes as the name of a session
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
func stsSessionName() *regexp.Regexp { return regexp.MustCompile(`^[\w+=,.@-]{2,64}$`) }

// configSource is the part of the volume that role chaining adds.
func configSource() corev1.VolumeProjection {
	return corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
		Path: "config", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['" + configAnnotation + "']"},
	}}}}
}

// expectedInjection are how an identity reaches a container: the file of the token, the
// directory that it is in, the variables that make the identity, and others
// that make another one.
type expectedInjection struct {
	directory, file string
	variables       map[string]string
	rivals          []string
	// fileVariable is the one that names the token's file, or empty.
	fileVariable string
}

// usualFolder is where the token goes if nothing is in its way.
func (d *decision) usualFolder() string {
	if d.id.Method == identity.ContainerCredentials {
		return d.settings.ContainerCredentials.MountPath
	}
	return d.settings.MountPath
}

// folderOf returns the directory in which a container has the token. If it has the token
// in both, that is the one that its variable names. With a chained role, it is the one
// that the pod's configuration names.
func (d *decision) folderOf(c *corev1.Container, windows bool) string {
	directories := []string{d.usualFolder(), d.settings.FallbackMountPath}
	switch fallback := d.expectedInjection(d.settings.FallbackMountPath); {
	case d.id.TargetRoleARN != "" && strings.Contains(d.after.Annotations[configAnnotation], "web_identity_token_file = "+d.known(fallback.directory, "token")+"\n"):
		return fallback.directory
	case d.id.TargetRoleARN != "":
		return d.usualFolder()
	case valueOf(c, fallback.fileVariable) == fallback.variables[fallback.fileVariable]:
		slices.Reverse(directories)
	}
	for _, directory := range directories {
		for _, m := range c.VolumeMounts {
			i := slices.IndexFunc(d.after.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
			if place(m.MountPath, windows) == place(directory, windows) && i >= 0 && d.isHeldBy(&d.after.Spec.Volumes[i]) && m.SubPath == "" && m.SubPathExpr == "" {
				return directory
			}
		}
	}
	return d.usualFolder()
}

// expectedInjection are those of the identity with the token in a directory.
func (d *decision) expectedInjection(directory string) expectedInjection {
	switch {
	case d.id.Method == identity.ContainerCredentials:
		c := d.settings.ContainerCredentials
		return expectedInjection{directory, c.TokenPath, map[string]string{
			"AWS_CONTAINER_CREDENTIALS_FULL_URI":     c.FullURI,
			"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": d.known(directory, c.TokenPath),
		}, nil, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}
	case d.id.TargetRoleARN != "":
		return expectedInjection{
			directory, "token",
			map[string]string{"AWS_CONFIG_FILE": d.known(directory, "config")},
			[]string{"AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"},
			"",
		}
	default:
		return expectedInjection{directory, "token", map[string]string{
			"AWS_ROLE_ARN": d.id.RoleARN, "AWS_WEB_IDENTITY_TOKEN_FILE": d.known(directory, "token"),
		}, nil, "AWS_WEB_IDENTITY_TOKEN_FILE"}
	}
}

// known is the path of a file as the container's processes know it.
func (d *decision) known(directory, file string) string {
	joined := path.Join(directory, file)
	if isWindows(d.before) {
		return `C:` + strings.ReplaceAll(joined, "/", `\`)
	}
	return joined
}

// extras are the variables that a container with the identity has beside it,
// unless it sets them itself.
func (d *decision) extras() map[string]string {
	extras := map[string]string{}
	if d.id.Method == identity.WebIdentity {
		if d.id.STSEndpoint != "" {
			extras["AWS_ENDPOINT_URL_STS"] = d.id.STSEndpoint
		}
		if d.id.TargetRoleARN != "" {
			extras["AWS_SDK_LOAD_CONFIG"] = "1"
		}
		if session := d.session(); session != "" && d.id.TargetRoleARN == "" {
			extras["AWS_ROLE_SESSION_NAME"] = session
		}
	}
	return extras
}

// session is the name of the session, fromElsewhere for one that the kubelet is
// to fill in, or empty for one that is left to the SDK.
func (d *decision) session() string {
	name := d.id.SessionName
	if said := d.before.Annotations[d.settings.AnnotationPrefix+"/role-session-name"]; stsSessionName().MatchString(said) {
		name = said
	}
	if name != "pod-name" {
		return name
	}
	switch pod := d.before.Name; {
	case pod == "" && d.before.GenerateName == "":
		return ""
	case pod == "":
		return fromElsewhere
	case len(pod) == 1:
		return "pod-" + pod
	case len(pod) > 64:
		name := fmt.Sprintf("%s-%x", pod[:55], sha256.Sum256([]byte(pod)))[:64]
		// What no pod is called may be cut within a letter, which JSON cannot say.
		return string([]rune(name))
	default:
		return pod
	}
}

// config is the AWS configuration of a chained role, to the letter.
func (d *decision) config(directory string) string {
	session := d.session()
	lines := []string{"[default]", "role_arn = " + d.id.TargetRoleARN, "source_profile = web-identity"}
	if d.id.TargetExternalID != "" {
		lines = append(lines, "external_id = "+d.id.TargetExternalID)
	}
	named := session != "" && session != fromElsewhere
	if named {
		lines = append(lines, "role_session_name = "+session)
	}
	lines = append(lines, "[profile web-identity]", "role_arn = "+d.id.RoleARN,
		"web_identity_token_file = "+d.known(directory, "token"))
	if named {
		lines = append(lines, "role_session_name = "+session)
	}
	return strings.Join(lines, "\n") + "\n"
}

// isHeldBy says whether a volume holds the token, and the configuration if there
// is one.
func (d *decision) isHeldBy(volume *corev1.Volume) bool {
	if volume.Projected == nil {
		return false
	}
	sources := volume.Projected.Sources
	hasToken := false
	for _, source := range sources { // the last of one path is what the kubelet writes
		if token := source.ServiceAccountToken; token != nil && token.Path == d.expectedInjection("").file {
			hasToken = token.Audience == d.id.Audience
		}
	}
	hasConfig := slices.ContainsFunc(sources, func(s corev1.VolumeProjection) bool {
		return s.DownwardAPI != nil && slices.ContainsFunc(s.DownwardAPI.Items, func(item corev1.DownwardAPIVolumeFile) bool {
			want := configSource().DownwardAPI.Items[0]
			return item.Path == want.Path && item.FieldRef != nil && item.FieldRef.FieldPath == want.FieldRef.FieldPath
		})
	})
	return hasToken && (hasConfig || d.id.TargetRoleARN == "")
}

// tokenVolumeOf returns the volume of which a container reads the token at a path. It
// goes up from the file to the first mount.
func (d *decision) tokenVolumeOf(c *corev1.Container, file string) string {
	windows := isWindows(d.before)
	at := place(file, windows)
	if windows {
		at = strings.ToLower(at)
	}
	isAbsolute := strings.HasPrefix(file, "/") || windows && regexp.MustCompile(`^(?i:C:)?[/\\]`).MatchString(file)
	if !isAbsolute || windows && strings.HasSuffix(file, `\`) || strings.ContainsRune(file, '$') || regexp.MustCompile(`(^|[/\\])\.\.($|[/\\])|/$`).MatchString(file) {
		return ""
	}
	for directory := at; ; directory = path.Dir(directory) {
		is := func(mountPath string) bool {
			mountPath = place(mountPath, windows)
			return mountPath == directory || windows && strings.ToLower(mountPath) == directory
		}
		if slices.ContainsFunc(c.VolumeDevices, func(device corev1.VolumeDevice) bool { return is(device.DevicePath) }) {
			return ""
		}
		for _, mount := range slices.Backward(c.VolumeMounts) {
			if is(mount.MountPath) {
				return d.tokenIn(mount, strings.TrimPrefix(at, directory), windows)
			}
		}
		if directory == "/" {
			return ""
		}
	}
}

// tokenIn returns the volume of a mount if the token is at a path below the mount.
func (d *decision) tokenIn(mount corev1.VolumeMount, below string, windows bool) string {
	if mount.SubPath+mount.SubPathExpr != "" {
		return "" // the kubelet does not renew the token there
	}
	want := path.Clean("/" + below)
	for _, volume := range d.after.Spec.Volumes {
		if volume.Name != mount.Name {
			continue
		}
		if volume.Projected == nil {
			return ""
		}
		found := ""
		for _, source := range volume.Projected.Sources {
			token := source.ServiceAccountToken
			if token == nil {
				continue
			}
			if got := path.Clean("/" + token.Path); got == want || windows && strings.EqualFold(got, want) {
				found = ""
				if token.Audience == d.id.Audience {
					found = volume.Name
				}
			}
		}
		return found
	}
	return ""
}
