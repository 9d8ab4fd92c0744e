// Package inject owns the decision what a pod is given, and the JSON patch that
// gives it. It is pure: no input or output, no clock, no client, and the pod it
// looks at is not changed. It never removes or replaces what a pod has; a patch
// only adds, so that fields which it does not know survive.
package inject

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
)

const (
	// VolumeName is the token's volume. The name is AWS's own webhook's, and a
	// contract: pods mount it by this name in containers of their own.
	VolumeName = "aws-iam-token"

	// SkipPodLabel on a pod, whatever its value, leaves the pod alone. The
	// webhook's registration has an objectSelector that spares the call; the
	// label is honoured here too, for registrations without one.
	SkipPodLabel = "eks.amazonaws.com/skip-pod-identity-webhook"

	// SkipContainersAnnotation on a pod, with the annotation prefix, names the
	// containers to leave alone, as one record of comma-separated values.
	SkipContainersAnnotation = "skip-containers"

	// mirrorPodAnnotation marks the API server's picture of a static pod
	// (k8s.io/api/core/v1, MirrorPodAnnotationKey). It cannot be changed.
	mirrorPodAnnotation = "kubernetes.io/config.mirror"
)

// Settings are the same for all pods.
type Settings struct {
	// AnnotationPrefix is that of the pod's annotations, "eks.amazonaws.com".
	AnnotationPrefix string
	// MountPath is the folder in which a container finds its token, absolute.
	MountPath string
	// Region is set as AWS_REGION and AWS_DEFAULT_REGION where a container has
	// neither; empty to set none.
	Region string
}

// Result says what was decided about a pod. Logs, metrics, warnings and audit
// annotations are made from it.
type Result struct {
	Reason Reason
	// Patch is a JSON patch (RFC 6902) of add operations, nil to leave the pod
	// as it is.
	Patch []byte
	// Volume is the token's volume. ExpirationSeconds is that of the token if
	// the patch adds the volume, and 0 if the pod has it already.
	Volume            string
	ExpirationSeconds int64
	// Containers has the pod's containers, then its init containers, in the
	// pod's order; it is empty if the pod as a whole is left alone.
	Containers []ContainerResult
	Warnings   []Warning
}

// ContainerResult says what was decided about one container.
type ContainerResult struct {
	Name   string
	Reason Reason
	// Env names the variables that the patch adds.
	Env []string
	// Mounted says whether the patch adds the mount of the token.
	Mounted bool
}

// Warning tells the user of something that is probably a mistake.
type Warning struct {
	Reason  Reason
	Message string
}

// Exempt returns why a pod is left alone whatever the identity of its
// ServiceAccount, or "" if that identity decides.
func Exempt(pod *Pod) Reason {
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

// Patch decides what a pod that is not exempt is given. id is the identity of its
// ServiceAccount, nil if it has no role.
func Patch(pod *Pod, id *identity.Identity, settings Settings) (Result, error) {
	if id == nil {
		return Result{Reason: NoRole}, nil
	}
	p := newPlan(pod, id, settings)
	p.addVolume()
	for i := range pod.Spec.Containers {
		p.addToContainer("/spec/containers/", i, &pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		p.addToContainer("/spec/initContainers/", i, &pod.Spec.InitContainers[i])
	}
	return p.finish()
}

// plan is a decision in the making.
type plan struct {
	pod      *Pod
	identity *identity.Identity
	settings Settings
	windows  bool
	skip     []string
	// tokenFile is the token's path as the containers' processes know it.
	tokenFile         string
	expirationSeconds int64

	result Result
	ops    []operation
}

func newPlan(pod *Pod, id *identity.Identity, settings Settings) *plan {
	p := &plan{
		pod:      pod,
		identity: id,
		settings: settings,
		windows:  isWindows(pod.Spec.NodeSelector),
	}
	for _, problem := range id.Problems {
		p.warn(MalformedAnnotation, "ServiceAccount annotation %s", problem)
	}
	p.tokenFile = tokenFile(settings.MountPath, p.windows)
	p.expirationSeconds = p.readExpiration()
	p.skip = p.skippedContainers()
	return p
}

func (p *plan) warn(reason Reason, format string, args ...any) {
	p.result.Warnings = append(p.result.Warnings, Warning{Reason: reason, Message: fmt.Sprintf(format, args...)})
}

// readExpiration returns the pod's word, or else its ServiceAccount's.
func (p *plan) readExpiration() int64 {
	annotation := p.settings.AnnotationPrefix + "/" + identity.TokenExpirationAnnotation
	value := p.pod.Metadata.Annotations[annotation]
	if value == "" {
		return p.identity.ExpirationSeconds
	}
	seconds, problem := identity.ParseExpiration(annotation, value, p.identity.ExpirationSeconds)
	if problem != nil {
		p.warn(MalformedAnnotation, "pod annotation %s", problem)
	}
	return seconds
}

func (p *plan) skippedContainers() []string {
	annotation := p.settings.AnnotationPrefix + "/" + SkipContainersAnnotation
	value := p.pod.Metadata.Annotations[annotation]
	if value == "" {
		return nil
	}
	names, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil && !errors.Is(err, io.EOF) {
		problem := identity.Problem{
			Annotation: annotation, Value: value,
			Fault: "is not a list of comma-separated values", Used: "no container is skipped",
		}
		p.warn(MalformedAnnotation, "pod annotation %s", problem)
		return nil
	}
	return names
}

// addVolume chooses the token's volume, and adds it if the pod does not have it.
//
// It is added even if each container is left alone in the end: a container that
// sets its environment itself may mount the volume by name.
func (p *plan) addVolume() {
	name := VolumeName
	for n := 2; ; n++ {
		existing := p.pod.Spec.volume(name)
		if existing == nil {
			break
		}
		if existing.holdsToken(p.identity.Audience) {
			p.result.Volume = name
			return
		}
		name = fmt.Sprintf("%s-%d", VolumeName, n)
	}
	if name != VolumeName {
		p.warn(VolumeNameTaken, "volume %q holds no file %q with a token for audience %q: ours is named %q",
			VolumeName, token.FileName, p.identity.Audience, name)
	}
	p.result.Volume = name
	p.result.ExpirationSeconds = p.expirationSeconds
	volume := token.Volume(name, p.identity.Audience, p.expirationSeconds)
	// The first place: AWS's own webhook puts it there.
	p.addElement("/spec/volumes", p.pod.Spec.Volumes == nil, "/0", volume)
}

func (s *Spec) volume(name string) *Volume {
	for i := range s.Volumes {
		if s.Volumes[i].Name == name {
			return &s.Volumes[i]
		}
	}
	return nil
}

// holdsToken says whether a container that mounts v finds a token for audience
// in the file token.FileName.
func (v *Volume) holdsToken(audience string) bool {
	if v.Projected == nil {
		return false
	}
	for _, source := range v.Projected.Sources {
		t := source.ServiceAccountToken
		if t != nil && t.Audience == audience && t.Path == token.FileName {
			return true
		}
	}
	return false
}

func (p *plan) finish() (Result, error) {
	p.result.Reason = p.reason()
	if len(p.ops) > 0 {
		patch, err := encode(p.ops)
		if err != nil {
			return Result{}, fmt.Errorf("encode JSON patch: %w", err)
		}
		p.result.Patch = patch
	}
	return p.result, nil
}

// reason sums up what was decided about the containers.
func (p *plan) reason() Reason {
	served := slices.ContainsFunc(p.result.Containers, func(c ContainerResult) bool {
		return c.Reason == Injected || c.Reason == AlreadyInjected || c.Reason == MountOnly
	})
	switch {
	case !served:
		return NoContainer
	case len(p.ops) > 0:
		return Injected
	default:
		return AlreadyInjected
	}
}
