package token

import corev1 "k8s.io/api/core/v1"

// FileName is the name of the web identity token file in its volume. It is the name that
// AWS's webhook uses, and applications rely on it.
const FileName = "token"

// The limits of expirationSeconds. The API server rejects a projected token with another
// value (ValidateProjectedVolumeSource in k8s.io/kubernetes/pkg/apis/core/validation). The
// kubelet renews a token after 80% of its lifetime or after 24 hours, whichever is first.
const (
	MinExpirationSeconds int64 = 600
	MaxExpirationSeconds int64 = 1 << 32
)

// Volume returns a projected volume with a token of the pod's ServiceAccount for audience. The
// kubelet requests the token, writes it to file and renews it. expirationSeconds must be
// from MinExpirationSeconds to MaxExpirationSeconds; see ClampExpiration.
//
// Volume sets neither a file mode nor an owner: the kubelet makes the file readable for the
// user of the containers (KEP-2451).
func Volume(name, audience, file string, expirationSeconds int64) corev1.Volume {
	return corev1.Volume{
		Name: name,
		VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
			Sources: []corev1.VolumeProjection{{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
					Audience:          audience,
					ExpirationSeconds: &expirationSeconds,
					Path:              file,
				},
			}},
		}},
	}
}

// ClampExpiration returns the value nearest to seconds that the API server accepts.
func ClampExpiration(seconds int64) int64 {
	return min(max(seconds, MinExpirationSeconds), MaxExpirationSeconds)
}
