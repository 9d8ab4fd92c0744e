// The CustomResourceDefinitions of others that the chart has objects of. They
// are files in modules that nothing here imports, so `go mod tidy` would remove
// them, and is not to be run.
module github.com/pod-identity-webhook/pod-identity-webhook/test/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
