// Downloads a prebuilt control plane for the demo. It is a separate module because no other
// module needs its requirements.
module github.com/pod-identity-webhook/pod-identity-webhook/tools/envtest

go 1.26.0

require (
	github.com/go-logr/logr v1.4.4
	sigs.k8s.io/controller-runtime/tools/setup-envtest v0.25.1
)

require (
	go.yaml.in/yaml/v2 v2.4.4 // indirect
	sigs.k8s.io/yaml v1.6.0 // indirect
)
