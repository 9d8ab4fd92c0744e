// Package inject decides what to inject into a pod, and creates the JSON patch. It is
// pure: it has no input or output, clock or client, and does not change the pod. A patch
// only adds to a pod and never removes or replaces anything, so that unknown fields stay.
package inject

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity/lint"
)

const (
	// VolumeName is the volume of a web identity token. It must not change: pods mount the
	// volume by this name, which is that of amazon-eks-pod-identity-webhook.
	VolumeName = "aws-iam-token"

	// SkipPodLabel is the label that makes the webhook skip a pod; its value does not
	// matter. The objectSelector of the webhook configuration avoids the request. The
	// label also works for configurations without the objectSelector.
	SkipPodLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

	// containerCredentialsLabel marks a pod that uses EKS Pod Identity for the tools of
	// EKS. It does not depend on the annotation prefix, as with AWS.
	containerCredentialsLabel = "eks.amazonaws.com/pod-identity" //nolint:gosec // a label, not a credential
	containerCredentialsValue = "enabled"

	// mirrorPodAnnotation marks the mirror pod of a static pod (k8s.io/api/core/v1,
	// MirrorPodAnnotationKey). Mirror pods cannot be changed.
	mirrorPodAnnotation = "kubernetes.io/config.mirror"
)

// Settings are the settings that all pods share.
type Settings struct {
	// AnnotationPrefix is the prefix, such as "eks.amazonaws.com", of the pod's
	// annotations.
	AnnotationPrefix string
	// MountPath is the absolute path of the directory of a web identity token in a
	// container.
	MountPath string
	// FallbackMountPath is the absolute path of the directory of a token, of either
	// method, in a container where the usual directory cannot be mounted.
	FallbackMountPath string
	// Region is the value of AWS_REGION and AWS_DEFAULT_REGION in a container that has
	// neither; empty for none.
	Region               string
	ContainerCredentials ContainerCredentials
}

// ContainerCredentials are the settings of the method identity.ContainerCredentials.
type ContainerCredentials struct {
	// FullURI is the URL of the agent on the node that returns credentials for a token.
	FullURI string
	// MountPath is the directory of the token, and TokenPath its file in the directory.
	MountPath, TokenPath string
	VolumeName           string
}

// Result is the decision about a pod, for the response, logs, metrics, warnings and audit
// annotations.
type Result struct {
	Reason Reason `json:"reason"`
	// Patch is a JSON patch (RFC 6902) of add operations, nil for no change.
	Patch []byte `json:"-"`
	// Volume is the volume of the token. It is empty if none is needed because all
	// containers read the token from user-defined volumes. ExpirationSeconds is the
	// expiration of the token if the patch adds the volume, and 0 if the pod already has
	// it.
	Volume            string `json:"volume,omitempty"`
	ExpirationSeconds int64  `json:"expirationSeconds,omitempty"`
	// Containers has the pod's containers, then its init containers, in the order of the
	// pod. It is empty if the pod is skipped.
	Containers []ContainerResult `json:"containers,omitempty"`
	Warnings   []Warning         `json:"warnings,omitempty"`
}

// ContainerResult is the decision about one container.
type ContainerResult struct {
	Name   string `json:"name"`
	Reason Reason `json:"reason"`
	// Env has the names of the variables that the patch adds.
	Env []string `json:"env,omitempty"`
	// Mounted reports whether the patch adds the mount of the token.
	Mounted bool `json:"mounted"`
	// OwnVolume is the user-defined volume from which the container reads the token, at a
	// path that the container chose, or empty.
	OwnVolume string `json:"ownVolume,omitempty"`
}

// Warning is a message to the user about a probable mistake.
type Warning struct {
	Reason  Reason `json:"reason"`
	Message string `json:"message"`
}

// SkipReason returns the reason to skip a pod for any identity of its ServiceAccount, or
// "" if the decision depends on the identity.
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

// Patch returns the decision about a pod that is created and for which SkipReason returns
// "". id is the identity of its ServiceAccount.
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

// PatchEphemeral returns the decision about the ephemeral containers that are added to a
// running pod. These are in pod and not in old. It compares names, because the merge of a
// patch can put new ones before old ones. Nothing else of the pod can be changed. So a pod
// without the token's volume is skipped, unless all new containers read the token from
// user-defined volumes.
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

// patchBuilder holds the state while a decision is made.
type patchBuilder struct {
	pod             *Pod
	identity        *identity.Identity
	settings        Settings
	windows         bool
	containerFilter containerFilter
	credentialSpec  credentialSpec

	// ephemeral reports whether the decision is about containers that are added to a
	// running pod.
	ephemeral bool
	// fallbackSpec is nil until it is needed.
	fallbackSpec *credentialSpec
	// fixedPath reports whether all containers use the directory of credentialSpec. If
	// that is the fallback, usualDirectory is the usual one.
	fixedPath      bool
	usualDirectory string
	// volumes are the volumes of the pod by name. created has, for each directory, the
	// first container of the pod that creates it, as its position in the start order.
	// started is the start order. They are nil until they are needed.
	volumes map[string]*Volume
	created map[directory]int
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

// maxWarnings limits the memory and the log lines for a pod with thousands of containers
// that all have the same mistake.
const maxWarnings = 100

func (p *patchBuilder) warn(reason Reason, format string, args ...any) {
	switch len(p.result.Warnings) {
	case maxWarnings:
	case maxWarnings - 1:
		p.result.Warnings = append(p.result.Warnings, Warning{Reason: reason, Message: fmt.Sprintf("only the first %d warnings are reported", maxWarnings-1)})
	default:
		p.result.Warnings = append(p.result.Warnings, Warning{Reason: reason, Message: fmt.Sprintf(format, args...)})
	}
}

// annotation returns the full key and the value of an annotation of the pod.
func (p *patchBuilder) annotation(name string) (key, value string) {
	key = p.settings.AnnotationPrefix + "/" + name
	return key, p.pod.Metadata.Annotations[key]
}

// withSessionName returns the identity with the session name of the pod's annotation, if
// it is set.
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

// readExpiration returns the expiration of the pod's annotation, or else that of the
// identity.
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

// addLabel marks pods that use EKS Pod Identity. It keeps an existing value.
func (p *patchBuilder) addLabel() {
	if p.identity.Method != identity.ContainerCredentials {
		return
	}
	labels := p.pod.Metadata.Labels
	if _, ok := labels[containerCredentialsLabel]; !ok {
		p.patch.addEntry("/metadata/labels", labels == nil, containerCredentialsLabel, containerCredentialsValue)
	}
}

// findVolume chooses the name of the token's volume, and reports whether the pod already
// has the volume. If a user-defined volume has the name, it chooses the next free name.
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
// It is added even if all containers are skipped: a container that sets its environment
// itself may mount the volume by name.
func (p *patchBuilder) addVolume() {
	if p.result.Volume != p.credentialSpec.volume && (p.credentialSpec.config != "" || !p.pod.Spec.volume(p.credentialSpec.volume).hasTokenFor(p.identity.Audience)) {
		p.warn(VolumeNameTaken, "volume %q cannot hold the token for audience %q; the token is in volume %q",
			p.credentialSpec.volume, p.identity.Audience, p.result.Volume)
	}
	p.result.ExpirationSeconds = p.expirationSeconds
	volume := p.credentialSpec.makeVolume(p.result.Volume, p.identity.Audience, p.expirationSeconds)
	// amazon-eks-pod-identity-webhook also adds it as the first volume.
	p.patch.addVolume(p.pod.Spec.Volumes == nil, &volume)
}

// hasTokenFor reports whether a volume has a token for an audience, at any path.
func (v *Volume) hasTokenFor(audience string) bool {
	return v.Projected != nil && slices.ContainsFunc(v.Projected.Sources, func(s Source) bool {
		return s.ServiceAccountToken != nil && s.ServiceAccountToken.Audience == audience
	})
}

// hasOwnTokens reports whether each selected container reads the token from a user-defined
// volume, and no container mounts the volume that would be added.
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

// isWindows reports whether a pod can only run on Windows. The kubelet sets both labels on
// its node. Kubernetes before 1.14 used only the second one.
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

// reason returns the reason of the pod, which depends on the results of its containers.
func (p *patchBuilder) reason() Reason {
	injected := slices.ContainsFunc(p.result.Containers, func(c ContainerResult) bool {
		return slices.Contains([]Reason{Injected, FallbackPath, AlreadyInjected, MountOnly}, c.Reason)
	})
	switch {
	case !injected:
		return NoContainer
	case p.result.Patch != nil:
		return Injected
	default:
		return AlreadyInjected
	}
}
