package token

import corev1 "k8s.io/api/core/v1"

// FileName is the name of a web identity token's file within its volume. AWS's
// own webhook uses the same, and applications have come to rely on it.
const FileName = "token"

// The API server refuses a projected token whose expirationSeconds lies
// outside these bounds (ValidateProjectedVolumeSource in
// k8s.io/kubernetes/pkg/apis/core/validation). The kubelet renews a token when
// 80 % of its life has passed or it is older than 24 hours.
const (
	MinExpirationSeconds int64 = 600
	MaxExpirationSeconds int64 = 1 << 32
)

// Volume returns the projected volume that makes the kubelet ask the API
// server for a token of the pod's ServiceAccount, for audience, and keep it
// fresh in file. expirationSeconds must lie within MinExpirationSeconds and
// MaxExpirationSeconds; see ClampExpiration.
//
// Neither a file mode nor an owner is set: the kubelet makes the file readable
// for the user of the containers (KEP-2451).
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

// ClampExpiration moves seconds into the bounds that the API server accepts.
func ClampExpiration(seconds int64) int64 {
	return min(max(seconds, MinExpirationSeconds), MaxExpirationSeconds)
}
