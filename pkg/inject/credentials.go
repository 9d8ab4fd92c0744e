package inject

import (
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

// credentialSpec is how the containers of one pod are given their identity: what the
// volume holds, where it is mounted, and which variables tell the SDK of it.
type credentialSpec struct {
	// volume is the volume's name, if that is free, directory where it is mounted,
	// and file the token's name in it.
	volume, directory, file string
	// variables make the identity; a container that sets any of them, or of
	// rivals, has one of its own and gets none of these.
	variables      []corev1.EnvVar
	conflictingEnv []string
	// fileVariable is the one of variables that names the token's file, "" if none
	// does: with role chaining, a configuration file does.
	fileVariable string
	// optionalEnv go with the variables, each unless the container sets it.
	optionalEnv []corev1.EnvVar
	// config is the text of an AWS configuration file to put beside the token,
	// for role chaining, or empty.
	config string
}

// usualDirectory returns the directory of the token for the identity's method.
func usualDirectory(id *identity.Identity, settings Settings) string {
	if id.Method == identity.ContainerCredentials {
		return settings.ContainerCredentials.MountPath
	}
	return settings.MountPath
}

// newCredentialSpec chooses by the identity's method and by whether a role is chained.
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
		// The SDKs for Go v1 and JavaScript v2 read the file only if told to. Many
		// containers say so themselves, which makes no identity.
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

// indexOf returns the place of a variable among those that make the identity, or -1.
func (d *credentialSpec) indexOf(name string) int {
	return slices.IndexFunc(d.variables, func(v corev1.EnvVar) bool { return v.Name == name })
}

// identityNames returns the names of the variables that make an identity, with rivals.
func (d *credentialSpec) identityNames() []string {
	names := make([]string, 0, len(d.variables)+len(d.conflictingEnv))
	for i := range d.variables {
		names = append(names, d.variables[i].Name)
	}
	return append(names, d.conflictingEnv...)
}

// containerPath returns the path of a file as a container's processes know it.
// The mount itself is given in the Unix form for Windows too; the container
// runtime puts it on drive C.
func containerPath(directory, file string, windows bool) string {
	joined := path.Join(directory, file)
	if windows {
		return "C:" + strings.ReplaceAll(joined, "/", `\`)
	}
	return joined
}

// makeVolume returns the volume under its name in the pod.
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

// viewVolume returns what a decision sees of the volume that makeVolume returns.
func (d *credentialSpec) viewVolume(name, audience string) *Volume {
	sources := []Source{{ServiceAccountToken: &ServiceAccountToken{Audience: audience, Path: d.file}}}
	if d.config != "" {
		sources = append(sources, Source{DownwardAPI: &DownwardAPI{Items: []DownwardAPIItem{{
			Path: configFile, FieldRef: &FieldRef{FieldPath: configFieldPath},
		}}}})
	}
	return &Volume{Name: name, Projected: &Projected{Sources: sources}}
}

// matchesVolume says whether a container that mounts v in the delivery's directory finds
// there what the variables speak of, the token being for audience.
func (d *credentialSpec) matchesVolume(v *Volume, audience string) bool {
	if v.Projected == nil {
		return false
	}
	hasToken, hasConfig := false, d.config == ""
	for _, source := range v.Projected.Sources {
		if t := source.ServiceAccountToken; t != nil && t.Path == d.file {
			hasToken = t.Audience == audience // of two with one path, the kubelet keeps the last
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
