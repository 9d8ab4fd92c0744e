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

// The variables by which an AWS SDK finds a role
// (https://docs.aws.amazon.com/sdkref/latest/guide/settings-reference.html).
const (
	envRole         = "AWS_ROLE_ARN"
	envTokenFile    = "AWS_WEB_IDENTITY_TOKEN_FILE" //nolint:gosec // the name of a variable, no credential
	envConfigFile   = "AWS_CONFIG_FILE"
	envContainerURI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	envRegion       = "AWS_REGION"
)

// containersOf are those that should have the identity: the pod's own.
func containersOf(pod *corev1.Pod) []corev1.Container {
	return slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers)
}

// valueOf returns a variable's value: of those that are set twice a process sees
// the last.
func valueOf(c *corev1.Container, name string) (value string, set bool) {
	for _, variable := range c.Env {
		if variable.Name == name {
			value, set = variable.Value, true
		}
	}
	return value, set
}

// dryRunInject says what the webhook would do now with a pod as it is.
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
		return newFinding(Unknown, "cannot tell what the webhook would do with the pod: %v", err)
	}
	at, by, known := annotationWrittenAt(x.account, x.roleKey())
	if !known {
		at, by = x.account.CreationTimestamp.Time, "its creator"
	}
	history := podHistory{account: x.account, writtenAt: at, writtenBy: by}
	if r := x.webhook.chosen(); r != nil {
		history.registered = r.configuration.CreationTimestamp.Time
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

// podHistory is what may explain that a pod was not injected.
type podHistory struct {
	account         *corev1.ServiceAccount
	writtenAt       time.Time
	writtenBy       string
	registered      time.Time
	ignoresFailures bool
	// notCalled is the check that says that the webhook is not called at all.
	notCalled Code
}

// evaluateInjected says whether the webhook has been at work, and if not, why.
func evaluateInjected(pod *corev1.Pod, result inject.Result, h podHistory) Finding {
	injected, other := 0, 0
	all := containersOf(pod)
	for i := range all {
		if _, set := valueOf(&all[i], envContainerURI); set {
			other++
		} else if hasIdentity(&all[i]) {
			injected++
		}
	}
	created := pod.CreationTimestamp.UTC().Format(time.RFC3339)
	none := func(format string, args ...any) Finding {
		return newFinding(Broken, "the pod has no identity: "+format, args...).withEvidence("pod created", created)
	}
	switch {
	case injected > 0:
		return newFinding(OK, "the pod was given its identity, in %s", plural(injected, "container")).withEvidence("pod created", created)
	case other > 0:
		return newFinding(Warning, "the pod has another identity: that of EKS Pod Identity").
			withReason("%s leads its SDK to the agent on the node, which knows the role; the role that the ServiceAccount names is not used", envContainerURI)
	case result.Reason == inject.MirrorPod:
		return none("it pictures a static pod, which can have no ServiceAccount").withReason("run it as a DaemonSet instead")
	case result.Reason == inject.SkipLabel:
		return none("its label %s says to leave it alone", inject.SkipPodLabel).
			withFix("%s", templateLabelFix(pod, unmetRequirements(skipSelector(), pod.Labels)))
	case result.Reason == inject.NoContainer:
		return none("each of its containers is left alone").withReason("%s", strings.Join(reasonsOf(result), "; ")).
			withFix("%s", removeSkipAnnotations(pod))
	case h.notCalled != "":
		return none("the webhook is not called for it").withReason("see %s; once that is mended, make the pod anew", h.notCalled).
			withFix("%s", recreateCommand(pod))
	case pod.CreationTimestamp.Time.Before(h.writtenAt):
		return none("it is older than the annotation of its ServiceAccount").
			withReason("a pod that exists is never changed; %s wrote the annotation, or something beside it, at %s", h.writtenBy, h.writtenAt.UTC().Format(time.RFC3339)).
			withFix("%s", recreateCommand(pod))
	case pod.CreationTimestamp.Time.Before(h.registered):
		return none("it is older than the registration of the webhook").
			withReason("a pod that exists is never changed; the MutatingWebhookConfiguration was created at %s", h.registered.UTC().Format(time.RFC3339)).
			withFix("%s", recreateCommand(pod))
	default:
		why := "the annotation and the webhook were there before it, so the webhook was not called when it was created, or not for it"
		if h.ignoresFailures {
			why = "the annotation and the webhook were there before it, so the webhook did not answer when it was created, which its failurePolicy Ignore permits"
		}
		return none("the webhook did not give it one").withReason("%s", why).withFix("%s", recreateCommand(pod))
	}
}

func reasonsOf(result inject.Result) []string {
	var said []string
	for _, c := range result.Containers {
		said = append(said, fmt.Sprintf("%s: %s", c.Name, c.Reason.Description()))
	}
	return said
}

// removeSkipAnnotations removes the annotations that leave containers out.
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
		return newFinding(Unknown, "cannot tell what the webhook would do with the pod: %v", err)
	}
	for _, c := range result.Containers {
		if c.OwnVolume != "" && result.Volume == "" {
			return newFinding(OK, "container %s reads a token for %s from its own volume %s", c.Name, x.identity.Audience, c.OwnVolume)
		}
	}
	return evaluateToken(x.pod, x.identity)
}

// tokenVolume returns the projected token that the identity's variables speak of.
func tokenVolume(pod *corev1.Pod) (volume string, source *corev1.ServiceAccountTokenProjection) {
	all := containersOf(pod)
	var folders []string
	for i := range all {
		for _, name := range []string{envTokenFile, envConfigFile} {
			if file, set := valueOf(&all[i], name); set {
				folders = append(folders, path.Dir(strings.TrimPrefix(strings.ReplaceAll(file, `\`, "/"), "C:")))
			}
		}
	}
	for i := range all {
		for _, mount := range all[i].VolumeMounts {
			if !slices.Contains(folders, path.Clean(mount.MountPath)) {
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

// evaluateToken says whether the kubelet asks for the right token.
func evaluateToken(pod *corev1.Pod, id *identity.Identity) Finding {
	name, source := tokenVolume(pod)
	switch {
	case source == nil:
		return newFinding(Broken, "the pod has no volume with a token").
			withReason("its variables speak of a file that no volume holds: they were copied without it, probably").
			withFix("%s", recreateCleanCommand(pod))
	case source.Audience != id.Audience:
		return newFinding(Broken, "the token of volume %s is for the audience %q, not for %q", name, source.Audience, id.Audience).
			withReason("the pod is older than the audience that its ServiceAccount asks for, or brings a volume of its own").
			withFix("%s", recreateCleanCommand(pod))
	}
	finding := newFinding(OK, "volume %s holds a token for %s", name, source.Audience)
	if source.ExpirationSeconds != nil {
		finding = finding.withEvidence("lifetime", (time.Duration(*source.ExpirationSeconds) * time.Second).String())
		if *source.ExpirationSeconds > identity.MaxUsefulExpirationSeconds {
			finding.Status = Warning
			finding.Why = "the kubelet renews a token that is older than a day, whatever it was asked for"
		}
	}
	return finding
}

func checkEnvironment(_ context.Context, x *checkState) Finding {
	result, err := dryRunInject(withoutSkipLabel(x.pod), x.identity, x.settings.inject)
	if err != nil {
		return newFinding(Unknown, "cannot tell what the webhook would do with the pod: %v", err)
	}
	return evaluateEnvironment(x.pod, result, x.identity)
}

// withoutSkipLabel is the pod without the label that has the webhook leave it alone: what
// it was given by something else must be whole, too.
func withoutSkipLabel(pod *corev1.Pod) *corev1.Pod {
	plain := pod.DeepCopy()
	delete(plain.Labels, inject.SkipPodLabel)
	return plain
}

// evaluateEnvironment says whether each container has what belongs to the identity.
func evaluateEnvironment(pod *corev1.Pod, result inject.Result, id *identity.Identity) Finding {
	var broken, told []string
	var whole int
	all := containersOf(pod)
	for _, c := range result.Containers {
		at := slices.IndexFunc(all, func(other corev1.Container) bool { return other.Name == c.Name })
		container := &all[at]
		role, _ := valueOf(container, envRole)
		switch {
		case c.Reason == inject.AlreadyInjected:
			whole++
		case c.Reason == inject.SkipContainers || c.Reason == inject.NotIncluded:
			told = append(told, fmt.Sprintf("%s is left alone: %s", c.Name, c.Reason.Description()))
		case c.Reason == inject.TokenPathTaken:
			broken = append(broken, fmt.Sprintf("container %s mounts something else where the token would be", c.Name))
		case c.Reason == inject.Injected || c.Reason == inject.FallbackPath:
			broken = append(broken, fmt.Sprintf("container %s lacks %s", c.Name, missingParts(c)))
		case role != "" && role != id.RoleARN:
			broken = append(broken, fmt.Sprintf("container %s has %s=%s, and its ServiceAccount names %s", c.Name, envRole, role, cmp.Or(id.RoleARN, "none")))
		default:
			broken = append(broken, fmt.Sprintf("container %s sets an identity itself, which is not that of its ServiceAccount", c.Name))
		}
	}
	if len(broken) > 0 {
		return newFinding(Broken, "%s", broken[0]).
			withReason("%s", strings.Join(append(broken[1:], "the pod is older than what its ServiceAccount says now, or its template sets this itself: then take it out of there"), "; ")).
			withFix("%s", recreateCleanCommand(pod))
	}
	if whole == 0 && len(told) == 0 {
		return newFinding(Unknown, "cannot tell whether variables and mounts are whole: the webhook would look at no container (%s)", cmp.Or(string(result.Reason), "no reason"))
	}
	finding := newFinding(OK, "variables and mounts are whole in %s", plural(whole, "container"))
	if len(told) > 0 {
		finding.Why = strings.Join(told, "; ")
	}
	return finding
}

func missingParts(c inject.ContainerResult) string {
	missing := slices.Clone(c.Env)
	if c.Mounted {
		missing = append(missing, "the mount of the token")
	}
	return strings.Join(missing, ", ")
}
