package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/inject"
)

// The variables from which an AWS SDK reads the role
// (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).
const (
	envRole         = "AWS_ROLE_ARN"
	envTokenFile    = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable, not a credential
	envConfigFile   = "AWS_CONFIG_FILE"
	envContainerURI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	envRegion       = "AWS_REGION"
)

// containersOf returns the containers and init containers of the pod, without ephemeral ones.
func containersOf(pod *corev1.Pod) []corev1.Container {
	return slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)
}

// valueOf returns the value of a variable. If it is set more than once, the last value
// takes effect.
func valueOf(c *corev1.Container, name string) (value string, set bool) {
	for _, variable := range c.Env {
		if variable.Name == name {
			value, set = variable.Value, true
		}
	}
	return value, set
}

// dryRunInject returns the result of the webhook's code for the existing pod. It returns
// an error if the pod cannot be decoded.
func dryRunInject(pod *corev1.Pod, id *identity.Identity, s inject.Settings) (inject.Result, error) {
	encoded, err := json.Marshal(pod)
	if err != nil {
		return inject.Result{}, err
	}
	view, err := inject.ReadPod(encoded)
	if err != nil {
		return inject.Result{}, err
	}
	if reason := inject.SkipReason(view); reason != "" {
		return inject.Result{Reason: reason}, nil
	}
	return inject.Patch(view, id, s), nil
}

func checkInjected(_ context.Context, x *checkState) Finding {
	result, err := dryRunInject(x.pod, x.identity, x.settings.inject)
	if err != nil {
		return newFinding(Unknown, "cannot determine the webhook's decision for the pod: %v", err)
	}
	at, by, known := annotationWrittenAt(x.account, x.roleKey())
	if !known {
		at, by = x.account.CreationTimestamp.Time, "its creator"
	}
	history := podHistory{account: x.account, writtenAt: at, writtenBy: by}
	if r := x.webhook.chosen(); r != nil {
		history.configuredAt = r.configuration.CreationTimestamp.Time
		history.ignoresFailures = r.ignoresFailures()
	}
	for _, code := range []Code{WebhookRegistered, WebhookRules, WebhookNamespace, WebhookPod} {
		if x.status[code] == Broken {
			history.notCalled = code
			break
		}
	}
	return evaluateInjected(x.pod, result, history)
}

// podHistory is the data that may explain why a pod was not injected.
type podHistory struct {
	account         *corev1.ServiceAccount
	writtenAt       time.Time
	writtenBy       string
	configuredAt    time.Time
	ignoresFailures bool
	// notCalled is the broken check that explains why the webhook is not called, or "".
	notCalled Code
}

// evaluateInjected checks whether the pod has an identity, and if not, why.
func evaluateInjected(pod *corev1.Pod, result inject.Result, h podHistory) Finding {
	injected, other := 0, 0
	all := containersOf(pod)
	for i := range all {
		_, agent := valueOf(&all[i], envContainerURI)
		switch {
		case hasWebIdentity(&all[i]): // SDKs use it before the agent, see inject.Overrides
			injected++
		case agent:
			other++
		}
	}
	created := pod.CreationTimestamp.UTC().Format(time.RFC3339)
	none := func(format string, args ...any) Finding {
		return newFinding(Broken, "pod %s has no identity: %s", pod.Name, fmt.Sprintf(format, args...)).withEvidence("pod created", created)
	}
	switch {
	case injected > 0:
		return newFinding(OK, "pod %s has its identity in %s", pod.Name, plural(injected, "container")).withEvidence("pod created", created)
	case other > 0:
		return newFinding(Warning, "pod %s has another identity, from EKS Pod Identity", pod.Name).
			withReason("because of %s the SDK gets the credentials from the agent on the node; the SDK does not use the role of the ServiceAccount", envContainerURI)
	case result.Reason == inject.MirrorPod:
		return none("a static pod cannot have a ServiceAccount").withReason("run it as a DaemonSet instead")
	case result.Reason == inject.SkipLabel:
		return none("the webhook skips it because of label %s", inject.SkipPodLabel).
			withFix("%s", templateLabelFix(pod, unmetRequirements(skipSelector(), pod.Labels)))
	case result.Reason == inject.NoContainer:
		return none("the webhook skips all its containers").withReason("%s", strings.Join(reasonsOf(result), "; ")).
			withFix("%s", removeSkipAnnotations(pod))
	case h.notCalled != "":
		return none("the webhook is not called for it").withReason("see check %s; after you fix that, recreate the pod", h.notCalled).
			withFix("%s", recreateCommand(pod))
	case pod.CreationTimestamp.Time.Before(h.writtenAt):
		return none("the pod is older than the annotation of its ServiceAccount").
			withReason("existing pods are never changed; %s wrote the annotation, or another field, at %s", h.writtenBy, h.writtenAt.UTC().Format(time.RFC3339)).
			withFix("%s", recreateCommand(pod))
	case pod.CreationTimestamp.Time.Before(h.configuredAt):
		return none("the pod is older than the MutatingWebhookConfiguration").
			withReason("existing pods are never changed; the MutatingWebhookConfiguration was created at %s", h.configuredAt.UTC().Format(time.RFC3339)).
			withFix("%s", recreateCommand(pod))
	default:
		why := "the annotation and the webhook are older than the pod; the webhook was not called when the pod was created, or not for this pod"
		if h.ignoresFailures {
			why = "the annotation and the webhook are older than the pod; the webhook did not respond when the pod was created, and its failurePolicy is Ignore"
		}
		return none("the webhook did not inject it").withReason("%s", why).withFix("%s", recreateCommand(pod))
	}
}

func reasonsOf(result inject.Result) []string {
	var reasons []string
	for _, c := range result.Containers {
		reasons = append(reasons, fmt.Sprintf("%s: %s", c.Name, c.Reason.Description()))
	}
	return reasons
}

// removeSkipAnnotations returns the command that removes the annotations that exclude
// containers, or "" if there are none.
func removeSkipAnnotations(pod *corev1.Pod) string {
	var keys []string
	for key := range pod.Annotations {
		if name := path.Base(key); name == identity.SkipContainersAnnotation || name == identity.IncludeContainersAnnotation {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) == 0 {
		return ""
	}
	if w := workloadOf(pod); w.kind != "" {
		for i, key := range keys {
			keys[i] = fmt.Sprintf("%q:null", key)
		}
		return fmt.Sprintf(kubectl+` patch %s %s -n %s --type=merge -p='{"spec":{"template":{"metadata":{"annotations":{%s}}}}}'`,
			w.kind, w.name, pod.Namespace, strings.Join(keys, ","))
	}
	return fmt.Sprintf(kubectl+" annotate pod %s -n %s %s- && %s", pod.Name, pod.Namespace, strings.Join(keys, "- "), replacePodCommand(pod))
}

func checkToken(_ context.Context, x *checkState) Finding {
	result, err := dryRunInject(withoutSkipLabel(x.pod), x.identity, x.settings.inject)
	if err != nil {
		return newFinding(Unknown, "cannot determine the webhook's decision for the pod: %v", err)
	}
	for _, c := range result.Containers {
		if c.OwnVolume != "" && result.Volume == "" {
			return newFinding(OK, "container %s reads a token for audience %s from its own volume %s", c.Name, x.identity.Audience, c.OwnVolume)
		}
	}
	return evaluateToken(x.pod, x.identity)
}

// tokenVolume returns the volume and the projected token that the variables of the
// identity refer to. The source is nil if there is none.
func tokenVolume(pod *corev1.Pod) (volume string, source *corev1.ServiceAccountTokenProjection) {
	all := containersOf(pod)
	var directories []string
	for i := range all {
		for _, name := range []string{envTokenFile, envConfigFile} {
			if file, set := valueOf(&all[i], name); set {
				directories = append(directories, path.Dir(strings.TrimPrefix(strings.ReplaceAll(file, `\`, "/"), "C:")))
			}
		}
	}
	for i := range all {
		for _, mount := range all[i].VolumeMounts {
			if !slices.Contains(directories, path.Clean(mount.MountPath)) {
				continue
			}
			if source := projectedToken(pod, mount.Name); source != nil {
				return mount.Name, source
			}
		}
	}
	return inject.VolumeName, projectedToken(pod, inject.VolumeName)
}

func projectedToken(pod *corev1.Pod, volume string) *corev1.ServiceAccountTokenProjection {
	for _, v := range pod.Spec.Volumes {
		if v.Name != volume || v.Projected == nil {
			continue
		}
		for _, source := range v.Projected.Sources {
			if source.ServiceAccountToken != nil {
				return source.ServiceAccountToken
			}
		}
	}
	return nil
}

// evaluateToken checks whether the kubelet requests a token for the right audience.
func evaluateToken(pod *corev1.Pod, id *identity.Identity) Finding {
	name, source := tokenVolume(pod)
	switch {
	case source == nil:
		return newFinding(Broken, "pod %s has no volume with a token", pod.Name).
			withReason("the variables refer to a file that no volume contains; probably they were copied without the volume").
			withFix("%s", recreateCleanCommand(pod))
	case source.Audience != id.Audience:
		return newFinding(Broken, "volume %s has a token for audience %q, not %q", name, source.Audience, id.Audience).
			withReason("the pod is older than the audience of its ServiceAccount, or it has its own token volume; recreate the pod").
			withFix("%s", recreateCleanCommand(pod))
	}
	finding := newFinding(OK, "volume %s has a token for audience %s", name, source.Audience)
	if source.ExpirationSeconds != nil {
		finding = finding.withEvidence("lifetime", (time.Duration(*source.ExpirationSeconds) * time.Second).String())
		if *source.ExpirationSeconds > identity.MaxUsefulExpirationSeconds {
			finding.Status = Warning
			finding.Why = "the kubelet renews a token that is older than a day, even if its lifetime is longer"
		}
	}
	return finding
}

func checkEnvironment(_ context.Context, x *checkState) Finding {
	result, err := dryRunInject(withoutSkipLabel(x.pod), x.identity, x.settings.inject)
	if err != nil {
		return newFinding(Unknown, "cannot determine the webhook's decision for the pod: %v", err)
	}
	return evaluateEnvironment(x.pod, result, x.identity)
}

// withoutSkipLabel returns a copy of the pod without the label that makes the webhook skip
// it. If another controller injected the pod, its identity must be complete too.
func withoutSkipLabel(pod *corev1.Pod) *corev1.Pod {
	plain := pod.DeepCopy()
	delete(plain.Labels, inject.SkipPodLabel)
	return plain
}

// evaluateEnvironment checks whether each container has the variables and the mount of the
// identity.
func evaluateEnvironment(pod *corev1.Pod, result inject.Result, id *identity.Identity) Finding {
	var broken, skipped []string
	var complete int
	all := containersOf(pod)
	for _, c := range result.Containers {
		at := slices.IndexFunc(all, func(other corev1.Container) bool { return other.Name == c.Name })
		container := &all[at]
		role, _ := valueOf(container, envRole)
		switch {
		case c.Reason == inject.AlreadyInjected:
			complete++
		case c.Reason == inject.SkipContainers || c.Reason == inject.NotIncluded:
			skipped = append(skipped, fmt.Sprintf("container %s is skipped: %s", c.Name, c.Reason.Description()))
		case c.Reason == inject.TokenPathTaken:
			broken = append(broken, fmt.Sprintf("container %s mounts another volume at the path of the token", c.Name))
		case c.Reason == inject.Injected || c.Reason == inject.FallbackPath:
			broken = append(broken, fmt.Sprintf("container %s lacks %s", c.Name, missingParts(c)))
		case role != "" && role != id.RoleARN:
			broken = append(broken, fmt.Sprintf("container %s has %s=%s, but its ServiceAccount has %s", c.Name, envRole, role, cmp.Or(id.RoleARN, "no role")))
		default:
			broken = append(broken, fmt.Sprintf("container %s sets another identity than that of its ServiceAccount", c.Name))
		}
	}
	if len(broken) > 0 {
		return newFinding(Broken, "%s", broken[0]).
			withReason("%s", strings.Join(append(broken[1:], "the pod is older than the role of its ServiceAccount, or the pod template sets this value; then remove it from the template"), "; ")).
			withFix("%s", recreateCleanCommand(pod))
	}
	if complete == 0 && len(skipped) == 0 {
		return newFinding(Unknown, "cannot check variables and mounts: the webhook considers no container (%s)", cmp.Or(string(result.Reason), "no reason"))
	}
	finding := newFinding(OK, "variables and mounts are complete in %s", plural(complete, "container"))
	if len(skipped) > 0 {
		finding.Why = strings.Join(skipped, "; ")
	}
	return finding
}

func missingParts(c inject.ContainerResult) string {
	missing := slices.Clone(c.Env)
	if c.Mounted {
		missing = append(missing, "the token mount")
	}
	return strings.Join(missing, ", ")
}
