// Package inject owns the decision what a pod is given, and the JSON patch that
// gives it. It is pure: no input or output, no clock, no client, and the pod it
// looks at is not changed. It never removes or replaces what a pod has; a patch
// only adds, so that fields which it does not know survive.
package inject

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

const (
	// VolumeName is the volume of a web identity token. The name is AWS's own
	// webhook's, and a contract: pods mount it by this name in containers of
	// their own.
	VolumeName = "aws-iam-token"

	// SkipPodLabel on a pod, whatever its value, leaves the pod alone. The
	// webhook's registration has an objectSelector that spares the call; the
	// label is honoured here too, for registrations without one.
	SkipPodLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

	// containerCredentialsLabel tells EKS's tools of a pod that uses EKS Pod
	// Identity. It does not follow the annotation prefix, nor does AWS's.
	containerCredentialsLabel = "eks.amazonaws.com/pod-identity" //nolint:gosec // a label, no credential
	containerCredentialsValue = "enabled"

	// mirrorPodAnnotation marks the API server's picture of a static pod
	// (k8s.io/api/core/v1, MirrorPodAnnotationKey). It cannot be changed.
	mirrorPodAnnotation = "kubernetes.io/config.mirror"
)

// Settings are the same for all pods.
type Settings struct {
	// AnnotationPrefix is that of the pod's annotations, "eks.amazonaws.com".
	AnnotationPrefix string
	// MountPath is the directory in which a container finds its web identity
	// token, absolute.
	MountPath string
	// FallbackMountPath is the directory of a token, of either method, in a container in
	// which it cannot be mounted in the usual one. It is absolute.
	FallbackMountPath string
	// Region is set as AWS_REGION and AWS_DEFAULT_REGION where a container has
	// neither; empty to set none.
	Region               string
	ContainerCredentials ContainerCredentials
}

// ContainerCredentials are the settings for identities of that method.
type ContainerCredentials struct {
	// FullURI is where the agent on the node gives credentials for a token.
	FullURI string
	// MountPath is the directory of the token, TokenPath its file in it.
	MountPath, TokenPath string
	VolumeName           string
}

// Result says what was decided about a pod. Logs, metrics, warnings and audit
// annotations are made from it.
type Result struct {
	Reason Reason `json:"reason"`
	// Patch is a JSON patch (RFC 6902) of add operations, nil to leave the pod
	// as it is.
	Patch []byte `json:"-"`
	// Volume is the token's volume; it is empty if none is needed, since all containers
	// read the token from volumes of the user's. ExpirationSeconds is that of the token if
	// the patch adds the volume, and 0 if the pod has it already.
	Volume            string `json:"volume,omitempty"`
	ExpirationSeconds int64  `json:"expirationSeconds,omitempty"`
	// Containers has the pod's containers, then its init containers, in the
	// pod's order; it is empty if the pod as a whole is left alone.
	Containers []ContainerResult `json:"containers,omitempty"`
	Warnings   []Warning         `json:"warnings,omitempty"`
}

// ContainerResult says what was decided about one container.
type ContainerResult struct {
	Name   string `json:"name"`
	Reason Reason `json:"reason"`
	// Env names the variables that the patch adds.
	Env []string `json:"env,omitempty"`
	// Mounted says whether the patch adds the mount of the token.
	Mounted bool `json:"mounted"`
	// OwnVolume is the volume of the user's from which the container reads the token,
	// at a path of its own, or empty.
	OwnVolume string `json:"ownVolume,omitempty"`
}

// Warning tells the user of something that is probably a mistake.
type Warning struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// SkipReason returns why a pod is left alone whatever the identity of its
// ServiceAccount, or "" if that identity decides.
func SkipReason(pod *Pod) Reason {
	if _, mirror := pod.Metadata.Annotations[mirrorPodAnnotation]; mirror {
		return MirrorPod
	}
	if _, skip := pod.Metadata.Labels[SkipPodLabel]; skip {
		return SkipLabel
	}
	if pod.Spec.ServiceAccountName == "" {
		return NoServiceAccount
	}
	return ""
}

// Patch decides what a pod that is not exempt is given when it is created. id is
// the identity of its ServiceAccount.
func Patch(pod *Pod, id *identity.Identity, settings Settings) Result {
	p := newPatchBuilder(pod, id, settings)
	if !id.IsSet() {
		p.result.Reason = NoRole
		return p.result
	}
	p.addLabel()
	exists := p.findVolume()
	p.fixPath()
	p.addConfig()
	switch {
	case exists:
	case p.hasOwnTokens(pod.Spec.Containers, pod.Spec.InitContainers):
		p.result.Volume = ""
	default:
		p.addVolume()
	}
	p.injectContainers("/spec/containers/", pod.Spec.Containers, nil)
	p.injectContainers("/spec/initContainers/", pod.Spec.InitContainers, nil)
	return p.build()
}

// PatchEphemeral decides what the ephemeral containers are given that are being
// added to a running pod: those of pod that old has not. The API server keeps
// them apart by name; the merge of a patch can put new ones before old ones.
// Nothing else of the pod can be changed, so a pod that does not have the
// token's volume cannot be helped, unless all the new containers read a token of the user's.
func PatchEphemeral(pod, old *Pod, id *identity.Identity, settings Settings) Result {
	p := newPatchBuilder(pod, id, settings)
	if !id.IsSet() {
		p.result.Reason = NoRole
		return p.result
	}
	p.ephemeral = true
	if !p.findVolume() {
		if !p.hasOwnTokens(addedTo(pod, old)) {
			p.result = Result{Reason: NoTokenVolume}
			return p.result
		}
		p.result.Volume = ""
	}
	p.fixPath()
	p.injectContainers("/spec/ephemeralContainers/", pod.Spec.EphemeralContainers, old.Spec.EphemeralContainers)
	return p.build()
}

// addedTo returns the ephemeral containers of a pod that the old one does not have.
func addedTo(pod, old *Pod) []Container {
	return slices.DeleteFunc(slices.Clone(pod.Spec.EphemeralContainers), func(c Container) bool {
		return hasContainer(old.Spec.EphemeralContainers, c.Name)
	})
}

// patchBuilder is a decision in the making.
type patchBuilder struct {
	pod             *Pod
	identity        *identity.Identity
	settings        Settings
	windows         bool
	containerFilter containerFilter
	credentialSpec  credentialSpec

	// ephemeral says that the decision is about containers that are added to a running
	// pod.
	ephemeral bool
	// fallbackDelivery is nil until it is needed.
	fallbackDelivery *credentialSpec
	// fixedPath says that all containers have the directory of delivery. If that is the
	// fallback, usualDirectory is the usual one.
	fixedPath      bool
	usualDirectory string
	// volumes are the pod's by name; made has, of the containers that start with the
	// pod, the first that makes a directory, and started their order. They are nil
	// until they are needed.
	volumes map[string]*Volume
	made    map[directory]int
	started map[*Container]int

	expirationSeconds int64

	result Result
	patch  patch
}

func newPatchBuilder(pod *Pod, id *identity.Identity, settings Settings) *patchBuilder {
	p := &patchBuilder{pod: pod, settings: settings, windows: isWindows(&pod.Spec)}
	for _, problem := range id.Problems {
		p.warn(MalformedAnnotation, "ServiceAccount: %s", problem)
	}
	for _, finding := range lint.Pod(pod.Metadata.Annotations, settings.AnnotationPrefix, pod.Spec.ServiceAccountName) {
		p.warn(MisplacedAnnotation, "%s", finding.Message)
	}
	p.identity = p.withSessionName(id)
	if id.IsSet() {
		p.expirationSeconds = p.readExpiration()
		p.containerFilter = p.newContainerFilter()
		p.credentialSpec = newCredentialSpec(pod, p.identity, settings, p.windows, usualDirectory(p.identity, settings))
	}
	return p
}

// maxWarnings keeps a pod of thousands of containers, each with the same mistake, from
// filling memory and logs.
const maxWarnings = 100

func (p *patchBuilder) warn(reason Reason, format string, args ...any) {
	switch len(p.result.Warnings) {
	case maxWarnings:
	case maxWarnings - 1:
		p.result.Warnings = append(p.result.Warnings, Warning{Reason: reason, Message: fmt.Sprintf("%d warnings are enough: there are more", maxWarnings)})
	default:
		p.result.Warnings = append(p.result.Warnings, Warning{Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
}

// annotation returns one of the pod's annotations with its full key.
func (p *patchBuilder) annotation(name string) (key, value string) {
	key = p.settings.AnnotationPrefix + "/" + name
	return key, p.pod.Metadata.Annotations[key]
}

// withSessionName returns the identity with the pod's word on its session name,
// if the pod has one.
func (p *patchBuilder) withSessionName(id *identity.Identity) *identity.Identity {
	key, value := p.annotation(identity.RoleSessionNameAnnotation)
	if value == "" {
		return id
	}
	name, problem := identity.ParseSessionName(key, value, id.SessionName)
	if problem != nil {
		p.warn(MalformedAnnotation, "pod annotation %s", problem)
	}
	changed := *id
	changed.SessionName = name
	return &changed
}

// readExpiration returns the pod's word, or else its ServiceAccount's.
func (p *patchBuilder) readExpiration() int64 {
	key, value := p.annotation(identity.TokenExpirationAnnotation)
	if value == "" {
		return p.identity.ExpirationSeconds
	}
	seconds, problem := identity.ParseExpiration(key, value, p.identity.ExpirationSeconds)
	if problem != nil {
		p.warn(MalformedAnnotation, "pod annotation %s", problem)
	}
	return seconds
}

// addLabel marks pods that use EKS Pod Identity. A value that is there already
// is not ours to change.
func (p *patchBuilder) addLabel() {
	if p.identity.Method != identity.ContainerCredentials {
		return
	}
	labels := p.pod.Metadata.Labels
	if _, ok := labels[containerCredentialsLabel]; !ok {
		p.patch.addEntry("/metadata/labels", labels == nil, containerCredentialsLabel, containerCredentialsValue)
	}
}

// findVolume chooses the token's volume, and says whether the pod has it. A
// volume of our name that does not hold the token is another's: ours gets the
// next name that is free.
func (p *patchBuilder) findVolume() bool {
	name := p.credentialSpec.volume
	for n := 2; ; n++ {
		p.result.Volume = name
		existing := p.pod.Spec.volume(name)
		if existing == nil {
			return false
		}
		if p.credentialSpec.matchesVolume(existing, p.identity.Audience) {
			return true
		}
		name = fmt.Sprintf("%s-%d", p.credentialSpec.volume, n)
	}
}

// addVolume adds the token's volume under the name that findVolume chose.
//
// It is added even if each container is left alone in the end: a container that
// sets its environment itself may mount the volume by name.
func (p *patchBuilder) addVolume() {
	if p.result.Volume != p.credentialSpec.volume && (p.credentialSpec.config != "" || !p.pod.Spec.volume(p.credentialSpec.volume).hasTokenFor(p.identity.Audience)) {
		p.warn(VolumeNameTaken, "volume %q is not what the token for audience %q needs: that is in volume %q",
			p.credentialSpec.volume, p.identity.Audience, p.result.Volume)
	}
	p.result.ExpirationSeconds = p.expirationSeconds
	volume := p.credentialSpec.makeVolume(p.result.Volume, p.identity.Audience, p.expirationSeconds)
	// The first place: AWS's own webhook puts it there.
	p.patch.addVolume(p.pod.Spec.Volumes == nil, &volume)
}

// hasTokenFor reports whether a volume has a token for an audience, under whatever path.
func (v *Volume) hasTokenFor(audience string) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s Source) bool {
		return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
	})
}

// hasOwnTokens reports whether each container that is to have the identity reads the
// token from a volume of the user's, and none counts on the one that would be added.
func (p *patchBuilder) hasOwnTokens(lists ...[]Container) bool {
	own := false
	for _, containers := range lists {
		for i := range containers {
			c := &containers[i]
			if slices.ContainsFunc(c.VolumeMounts, func(m VolumeMount) bool { return m.Name == p.result.Volume }) {
				return false
			}
			if p.containerFilter.reason(c.Name) != "" {
				continue
			}
			if p.inspectEnv(c, &p.credentialSpec).tokenVolume == "" {
				return false
			}
			own = true
		}
	}
	return own
}

func (s *Spec) volume(name string) *Volume {
	for i := range s.Volumes {
		if s.Volumes[i].Name == name {
			return &s.Volumes[i]
		}
	}
	return nil
}

// isWindows says whether a pod can only run on Windows. Both labels are set on
// each node by its kubelet; the second is the name they had before 1.14.
func isWindows(spec *Spec) bool {
	return spec.OS != nil && spec.OS.Name == string(corev1.Windows) ||
		spec.NodeSelector["kubernetes.io/os"] == "windows" || spec.NodeSelector["beta.kubernetes.io/os"] == "windows"
}

func (p *patchBuilder) build() Result {
	if p.patch.isTooLarge() {
		return Result{Reason: PatchTooLarge}
	}
	p.result.Patch = p.patch.encode()
	p.result.Reason = p.reason()
	return p.result
}

// reason sums up what was decided about the containers.
func (p *patchBuilder) reason() Reason {
	served := slices.ContainsFunc(p.result.Containers, func(c ContainerResult) bool {
		return slices.Contains([]Reason{Injected, FallbackPath, AlreadyInjected, MountOnly}, c.Reason)
	})
	switch {
	case !served:
		return NoContainer
	case p.result.Patch != nil:
		return Injected
	default:
		return AlreadyInjected
	}
}
