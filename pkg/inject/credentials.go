package inject

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// credentialSpec describes how the containers of one pod get their identity. It has the
// content of the volume, the directory of the mount, and the variables for the SDKs.
type credentialSpec struct {
	// volume is the name of the volume if that is free. The volume is mounted at directory,
	// and file is the name of the token in it.
	volume, directory, file string
	// variables select the identity. A container that sets any of them, or of
	// conflictingEnv, has its own identity and gets none of them.
	variables      []corev1.EnvVar
	conflictingEnv []string
	// fileVariable is the variable with the path of the token. It is "" with role
	// chaining, where a configuration file has the path.
	fileVariable string
	// optionalEnv are added besides variables, each unless the container sets it.
	optionalEnv []corev1.EnvVar
	// config is the text of the AWS configuration file for role chaining, or empty. The
	// file is next to the token.
	config string
}

// usualDirectory returns the directory of the token for the identity's method.
func usualDirectory(id *identity.Identity, settings Settings) string {
	if id.Method == identity.ContainerCredentials {
		return settings.ContainerCredentials.MountPath
	}
	return settings.MountPath
}

// newCredentialSpec returns the credentialSpec for an identity, which depends on its
// method and on role chaining.
func newCredentialSpec(pod *Pod, id *identity.Identity, settings Settings, windows bool, directory string) credentialSpec {
	if id.Method == identity.ContainerCredentials {
		c := settings.ContainerCredentials
		return credentialSpec{
			volume: c.VolumeName, directory: directory, file: c.TokenPath, fileVariable: envContainerTokenFile,
			variables: []corev1.EnvVar{
				{Name: envContainerCredentialsURI, Value: c.FullURI},
				{Name: envContainerTokenFile, Value: containerPath(directory, c.TokenPath, windows)},
			},
		}
	}
	d := credentialSpec{volume: VolumeName, directory: directory, file: token.FileName}
	tokenFile := containerPath(d.directory, d.file, windows)
	if id.STSEndpoint != "" {
		d.optionalEnv = append(d.optionalEnv, corev1.EnvVar{Name: envSTSEndpoint, Value: id.STSEndpoint})
	}
	if id.TargetRoleARN != "" {
		d.config = chainConfig(id, tokenFile, staticSessionName(pod, id))
		d.variables = []corev1.EnvVar{{Name: envConfigFile, Value: containerPath(d.directory, configFile, windows)}}
		// The SDKs for Go v1 and JavaScript v2 read the file only if this variable is
		// set. Many containers set it themselves, which is not an identity.
		d.optionalEnv = append([]corev1.EnvVar{{Name: envLoadConfig, Value: "1"}}, d.optionalEnv...)
		d.conflictingEnv = []string{envRoleARN, envWebIdentityTokenFile, envProfile, envDefaultProfile}
		return d
	}
	d.fileVariable = envWebIdentityTokenFile
	d.variables = []corev1.EnvVar{
		{Name: envRoleARN, Value: id.RoleARN},
		{Name: envWebIdentityTokenFile, Value: tokenFile},
	}
	if name := sessionNameVariable(pod, id); name != nil {
		d.optionalEnv = append([]corev1.EnvVar{*name}, d.optionalEnv...)
	}
	return d
}

// indexOf returns the index of a variable in variables, or -1.
func (d *credentialSpec) indexOf(name string) int {
	return slices.IndexFunc(d.variables, func(v corev1.EnvVar) bool { return v.Name == name })
}

// identityNames returns the names of variables and conflictingEnv.
func (d *credentialSpec) identityNames() []string {
	names := make([]string, 0, len(d.variables)+len(d.conflictingEnv))
	for i := range d.variables {
		names = append(names, d.variables[i].Name)
	}
	return append(names, d.conflictingEnv...)
}

// containerPath returns the path of a file as the processes of a container see it. The
// path of a mount has the Unix form on Windows too. The container runtime mounts it on
// the C: drive.
func containerPath(directory, file string, windows bool) string {
	joined := path.Join(directory, file)
	if windows {
		return "C:" + strings.ReplaceAll(joined, "/", `\`)
	}
	return joined
}

// makeVolume returns the token volume with the name.
func (d *credentialSpec) makeVolume(name, audience string, expirationSeconds int64) corev1.Volume {
	volume := token.Volume(name, audience, d.file, expirationSeconds)
	if d.config != "" {
		volume.Projected.Sources = append(volume.Projected.Sources, corev1.VolumeProjection{
			DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{
				Path:     configFile,
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: configFieldPath},
			}}},
		})
	}
	return volume
}

// viewVolume returns the view of the volume that makeVolume returns.
func (d *credentialSpec) viewVolume(name, audience string) *Volume {
	sources := []Source{{ServiceAccountToken: &ServiceAccountToken{Audience: audience, Path: d.file}}}
	if d.config != "" {
		sources = append(sources, Source{DownwardAPI: &DownwardAPI{Items: []DownwardAPIItem{{
			Path: configFile, FieldRef: &FieldRef{FieldPath: configFieldPath},
		}}}})
	}
	return &Volume{Name: name, Projected: &Projected{Sources: sources}}
}

// matchesVolume reports whether v has the files that the variables refer to, with a token
// for audience.
func (d *credentialSpec) matchesVolume(v *Volume, audience string) bool {
	if v.Projected == nil {
		return false
	}
	hasToken, hasConfig := false, d.config == ""
	for _, source := range v.Projected.Sources {
		if t := source.ServiceAccountToken; t != nil && t.Path == d.file {
			hasToken = t.Audience == audience // if two have the same path, the kubelet keeps the last
		}
		if source.DownwardAPI == nil {
			continue
		}
		for _, item := range source.DownwardAPI.Items {
			if item.Path == configFile && item.FieldRef != nil && item.FieldRef.FieldPath == configFieldPath {
				hasConfig = true
			}
		}
	}
	return hasToken && hasConfig
}
