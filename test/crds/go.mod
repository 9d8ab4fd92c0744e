// The CustomResourceDefinitions of the chart's objects for other operators. They are files in
// modules that nothing here imports. Do not run `go mod tidy`, which would remove the
// requirements.
module github.com/pod-identity-webhook/pod-identity-webhook/test/crds

go 1.26.0

require (
	github.com/cert-manager/cert-manager v1.21.2
	github.com/prometheus-operator/prometheus-operator v0.85.0
)
