// Runs go build and prints its progress. It is a separate module, so that it can be built
// before the modules of other programs are downloaded.
module github.com/pod-identity-webhook/pod-identity-webhook/tools/progress

go 1.26.0
