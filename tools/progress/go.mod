// Runs go build and prints how far it is. It is a module of its own so that it builds
// before any other module is downloaded.
module github.com/pod-identity-webhook/pod-identity-webhook/tools/progress

go 1.26.0
