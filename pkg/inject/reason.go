package inject

// Reason is a stable code for what was decided about a pod or a container, and
// why. Metrics, logs, warnings and audit annotations all quote it.
type Reason string

// What was decided about a pod.
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

// What was decided about a container, beside Injected and AlreadyInjected.
const (
	SkipContainers Reason = "skip_containers"
	NotIncluded    Reason = "not_included"
	EnvSetByUser   Reason = "env_set_by_user"
	MountOnly      Reason = "mount_only"
	FallbackPath   Reason = "fallback_path"
	TokenPathTaken Reason = "token_path_taken"
)

// What the user is warned about, beside EnvSetByUser, MountOnly, FallbackPath and
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

// descriptions says each Reason to a person.
var descriptions = map[Reason]string{
	Injected:               "the identity of its ServiceAccount was added",
	AlreadyInjected:        "it has the identity of its ServiceAccount already",
	NoContainer:            "each of its containers is left alone",
	NoRole:                 "its ServiceAccount has no role",
	ServiceAccountNotFound: "its ServiceAccount does not exist",
	NoServiceAccount:       "it names no ServiceAccount",
	MirrorPod:              "it mirrors a static pod, which can have no ServiceAccount",
	SkipLabel:              "its label " + SkipPodLabel + " says to leave it alone",
	NotPodCreation:         "only the creation of pods and of ephemeral containers is acted upon",
	NoTokenVolume:          "it was created without the token's volume, which cannot be added later",
	PatchTooLarge:          "what it would be given is more than an API server takes",
	SkipContainers:         "the annotation skip-containers names it",
	NotIncluded:            "the annotation include-containers does not name it",
	EnvSetByUser:           "it sets its identity, its region and its STS endpoints itself",
	MountOnly:              "it sets its identity itself, and keeps it",
	FallbackPath:           "the identity was added, with the token at the fallback path: the usual path cannot be mounted",
	TokenPathTaken:         "the token can be mounted neither at the usual path nor at the fallback path",
	MalformedAnnotation:    "an annotation cannot be used as it is",
	MisplacedAnnotation:    "an annotation of the pod has no effect there, or under that name",
	VolumeNameTaken:        "a volume with the name of the token's is another's",
	UnknownContainer:       "a list of containers names one that is not there",
	ConfigKept:             "the pod brings an AWS configuration of its own",
	IdentityOverridden:     "a variable of the container keeps AWS SDKs from the identity",
	RegionIncomplete:       "the container sets its region so that some AWS SDKs find none",
}

// Description says the reason to a person.
func (r Reason) Description() string { return descriptions[r] }
