// An application with the AWS SDK for Go v1, which AWS no longer maintains and
// many images still have. It is a module of its own so that nothing else requires
// that SDK.
module github.com/pod-identity-webhook/pod-identity-webhook/test/sdks/golangv1

go 1.26.0

require github.com/aws/aws-sdk-go v1.55.8

require github.com/jmespath/go-jmespath v0.4.0 // indirect
