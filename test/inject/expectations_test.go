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

// Keys of the metadata that role chaining and EKS Pod Identity add to a pod.
const (
	configAnnotation = "eks.amazonaws.com/aws-config"
	podIdentityLabel = "eks.amazonaws.com/pod-identity"
)

// fromElsewhere represents the value of a variable with a valueFrom.
const fromElsewhere = "(from elsewhere)"

// envOrder returns the variables in the order of the reference, followed by the others.
func envOrder() []string {
	return []string{
		"AWS_STS_REGIONAL_ENDPOINTS", "AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_SDK_LOAD_CONFIG",
		"AWS_ROLE_SESSION_NAME", "AWS_ENDPOINT_URL_STS",
	}
}

// stsSessionName matches the session names that STS accepts
// (https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html).
func stsSessionName() *regexp.Regexp { return regexp.MustCompile(`^[\w+=,.@-]{2,64}$`) }

// configSource returns the volume source that role chaining adds.
func configSource() corev1.VolumeProjection {
	return corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
		Path: "config", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['" + configAnnotation + "']"},
	}}}}
}

// expectedInjection is the expected identity of a container: the token's file and
// directory, the variables of the identity, and variables that take precedence over it.
type expectedInjection struct {
	directory, file string
	variables       map[string]string
	overriding      []string
	// fileVariable is the variable with the path of the token's file, or empty.
	fileVariable string
}

// usualDir returns the directory of the token if no mount conflicts with it.
func (d *decision) usualDir() string {
	if d.id.Method == identity.ContainerCredentials {
		return d.settings.ContainerCredentials.MountPath
	}
	return d.settings.MountPath
}

// dirOf returns the directory in which a container has the token. If the token is at both
// paths, it is the one in the container's variable. With a chained role, it is the one in
// the pod's AWS configuration.
func (d *decision) dirOf(c *corev1.Container, windows bool) string {
	directories := []string{d.usualDir(), d.settings.FallbackMountPath}
	switch fallback := d.expectedInjection(d.settings.FallbackMountPath); {
	case d.id.TargetRoleARN != "" && strings.Contains(d.after.Annotations[configAnnotation], "web_identity_token_file = "+d.known(fallback.directory, "token")+"\n"):
		return fallback.directory
	case d.id.TargetRoleARN != "":
		return d.usualDir()
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
	return d.usualDir()
}

// expectedInjection returns the expected identity with the token in the directory.
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

// known returns the path of a file as the container's processes see it.
func (d *decision) known(directory, file string) string {
	joined := path.Join(directory, file)
	if isWindows(d.before) {
		return `C:` + strings.ReplaceAll(joined, "/", `\`)
	}
	return joined
}

// extras returns the additional variables of an injected container, except those that it
// sets itself.
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

// session returns the session name. It is fromElsewhere if the kubelet sets it, and empty
// if the SDK chooses it.
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
		// The cut may split a character, and JSON cannot contain half a character.
		return string([]rune(name))
	default:
		return pod
	}
}

// config returns the exact AWS configuration of a chained role.
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

// isHeldBy reports whether a volume holds the token, and the configuration if there is one.
func (d *decision) isHeldBy(volume *corev1.Volume) bool {
	if volume.Projected == nil {
		return false
	}
	sources := volume.Projected.Sources
	hasToken := false
	for _, source := range sources { // the kubelet writes the last source of a path
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

// tokenVolumeOf returns the name of the volume from which a container reads the token in
// file. It goes up the path to the first mount.
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

// tokenIn returns the name of the mount's volume if that has the token at the path below.
func (d *decision) tokenIn(mount corev1.VolumeMount, below string, windows bool) string {
	if mount.SubPath+mount.SubPathExpr != "" {
		return "" // the kubelet does not renew tokens in subPath mounts
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
