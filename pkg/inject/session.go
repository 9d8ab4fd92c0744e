package inject

import (
	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// sessionNameVariable returns the variable with the name of the role session, so that
// CloudTrail records the pod. It returns nil if the SDK should choose the name.
func sessionNameVariable(pod *Pod, id *identity.Identity) *corev1.EnvVar {
	if name := staticSessionName(pod, id); name != "" {
		return &corev1.EnvVar{Name: envRoleSessionName, Value: name}
	}
	if id.SessionName == "" || pod.Metadata.GenerateName == "" {
		return nil
	}
	// The API server generates the name after calling this webhook. The name has at most
	// 63 characters (k8s.io/apiserver/pkg/storage/names), so the kubelet can use it
	// unchanged.
	return &corev1.EnvVar{Name: envRoleSessionName, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"},
	}}
}

// staticSessionName returns the session name, or "" if it is not known yet.
func staticSessionName(pod *Pod, id *identity.Identity) string {
	switch {
	case id.SessionName != identity.SessionNamePod:
		return id.SessionName
	case pod.Metadata.Name != "":
		return sessionNameForPod(pod.Metadata.Name)
	default:
		return ""
	}
}

// sessionNameForPod returns a session name for the name of a pod. Both consist of letters,
// digits, "-" and ".". But a pod name may have one character or more than 64, and STS
// accepts 2 to 64. A long name is cut, so that it is still recognizable, and gets a hash,
// so that it is unique.
func sessionNameForPod(pod string) string {
	const longest, hashDigits = 64, 8
	switch {
	case len(pod) == 1:
		return "pod-" + pod
	case len(pod) <= longest:
		return pod
	}
	hash := sha256.Sum256([]byte(pod))
	return pod[:longest-hashDigits-1] + "-" + hex.EncodeToString(hash[:])[:hashDigits]
}
