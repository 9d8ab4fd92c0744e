package inject

import (
	"crypto/sha256"
	"encoding/hex"

	corev1 "k8s.io/api/core/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/identity"
)

// sessionNameVariable returns the variable that names the session of a role, so
// that CloudTrail tells which pod acted; nil leaves the name to the SDK.
func sessionNameVariable(pod *Pod, id *identity.Identity) *corev1.EnvVar {
	if name := staticSessionName(pod, id); name != "" {
		return &corev1.EnvVar{Name: envRoleSessionName, Value: name}
	}
	if id.SessionName == "" || pod.Metadata.GenerateName == "" {
		return nil
	}
	// The API server makes the name only after this webhook has been called. It
	// makes none of more than 63 characters (k8s.io/apiserver/pkg/storage/names),
	// so the kubelet can fill it in as it is.
	return &corev1.EnvVar{Name: envRoleSessionName, ValueFrom: &corev1.EnvVarSource{
		FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"},
	}}
}

// staticSessionName returns the session's name if it is known now, or "".
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

// sessionNameForPod makes a session name of a pod's name. Both are of letters,
// digits, "-" and ".", but a pod's name may have one character or more than 64,
// where STS takes 2 to 64. A long one keeps its beginning, for people, and gets
// a hash, to differ from others that begin so.
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
