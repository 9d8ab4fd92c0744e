package inject

// Reason is a stable code for the decision about a pod or a container. Metrics, logs,
// warnings and audit annotations contain it.
type Reason string

// Reasons of a pod.
const (
	Injected               Reason = "injected"
	AlreadyInjected        Reason = "already_injected"
	NoContainer            Reason = "no_container"
	NoRole                 Reason = "no_role"
	ServiceAccountNotFound Reason = "service_account_not_found"
	NoServiceAccount       Reason = "no_service_account"
	MirrorPod              Reason = "mirror_pod"
	SkipLabel              Reason = "skip_label"
	NotPodCreation         Reason = "not_pod_creation"
	NoTokenVolume          Reason = "no_token_volume"
	PatchTooLarge          Reason = "patch_too_large"
)

// Reasons of a container, in addition to Injected and AlreadyInjected.
const (
	SkipContainers Reason = "skip_containers"
	NotIncluded    Reason = "not_included"
	EnvSetByUser   Reason = "env_set_by_user"
	MountOnly      Reason = "mount_only"
	FallbackPath   Reason = "fallback_path"
	TokenPathTaken Reason = "token_path_taken"
)

// Reasons of a warning, in addition to EnvSetByUser, MountOnly, FallbackPath and
// TokenPathTaken.
const (
	MalformedAnnotation Reason = "malformed_annotation"
	MisplacedAnnotation Reason = "misplaced_annotation"
	VolumeNameTaken     Reason = "volume_name_taken"
	UnknownContainer    Reason = "unknown_container"
	ConfigKept          Reason = "config_kept"
	IdentityOverridden  Reason = "identity_overridden"
	RegionIncomplete    Reason = "region_incomplete"
)

// descriptions are the sentences for the reasons. The subject of "its" is the pod or the
// container.
var descriptions = map[Reason]string{ //nolint:gosec // no credentials
	Injected:               "the identity of its ServiceAccount was added",
	AlreadyInjected:        "the identity of its ServiceAccount is already present",
	NoContainer:            "all of its containers are skipped",
	NoRole:                 "its ServiceAccount has no role",
	ServiceAccountNotFound: "its ServiceAccount does not exist",
	NoServiceAccount:       "its ServiceAccount name is empty",
	MirrorPod:              "a mirror pod of a static pod cannot have a ServiceAccount",
	SkipLabel:              "its label " + SkipPodLabel + " requests to skip it",
	NotPodCreation:         "only the creation of pods and of ephemeral containers is handled",
	NoTokenVolume:          "the pod was created without the token's volume, which cannot be added later",
	PatchTooLarge:          "the patch would be larger than an API server accepts",
	SkipContainers:         "the annotation skip-containers names it",
	NotIncluded:            "the annotation include-containers does not name it",
	EnvSetByUser:           "the container sets its own identity, region and STS endpoints",
	MountOnly:              "the container sets its own identity, which is kept",
	FallbackPath:           "the identity was added, with the token at the fallback path: the usual path cannot be mounted",
	TokenPathTaken:         "the token can be mounted neither at the usual path nor at the fallback path",
	MalformedAnnotation:    "an annotation has an invalid value",
	MisplacedAnnotation:    "an annotation has no effect on a pod, or has a misspelled name",
	VolumeNameTaken:        "a user-defined volume has the name of the token's volume",
	UnknownContainer:       "a list of containers names a container that does not exist",
	ConfigKept:             "the pod has its own AWS configuration",
	IdentityOverridden:     "a variable of the container keeps AWS SDKs from using the identity",
	RegionIncomplete:       "the container sets its region in a way that some AWS SDKs do not find it",
}

// Description returns a sentence that explains the reason.
func (r Reason) Description() string { return descriptions[r] }
