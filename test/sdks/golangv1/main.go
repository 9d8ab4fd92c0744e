// This program is a typical application with the AWS SDK for Go v1: it uses the SDK's default
// credential chain. It prints its identity, or writes an object and reads it back. The tests
// parse its output.
//
//	golangv1 version
//	golangv1 whoami
//	golangv1 store ENDPOINT BUCKET KEY CONTENT
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go/aws"         //nolint:staticcheck // what AWS no longer maintains is what is tested
	"github.com/aws/aws-sdk-go/aws/awserr"  //nolint:staticcheck // what AWS no longer maintains is what is tested
	"github.com/aws/aws-sdk-go/aws/session" //nolint:staticcheck // what AWS no longer maintains is what is tested
	"github.com/aws/aws-sdk-go/service/s3"  //nolint:staticcheck // what AWS no longer maintains is what is tested
	"github.com/aws/aws-sdk-go/service/sts" //nolint:staticcheck // what AWS no longer maintains is what is tested
)

// answer is the output. One of its fields is set.
type answer struct {
	Version string   `json:"version,omitempty"`
	ARN     string   `json:"arn,omitempty"`
	Content string   `json:"content,omitempty"`
	Error   *failure `json:"error,omitempty"`
}

// failure is an error of the service. This SDK has codes for errors, but no types.
type failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func main() {
	a, err := run(os.Args[1:])
	if err != nil {
		a = answer{Error: describe(err)}
	}
	encoded, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, string(encoded))
}

func run(args []string) (answer, error) {
	if len(args) == 1 && args[0] == "version" {
		return answer{Version: aws.SDKVersion}, nil
	}
	loaded, err := session.NewSession()
	if err != nil {
		return answer{}, err
	}
	if len(args) == 5 && args[0] == "store" {
		return store(loaded, args[1], args[2], args[3], args[4])
	}
	identity, err := sts.New(loaded).GetCallerIdentity(&sts.GetCallerIdentityInput{})
	if err != nil {
		return answer{}, err
	}
	return answer{ARN: aws.StringValue(identity.Arn)}, nil
}

func store(loaded *session.Session, endpoint, bucket, key, content string) (answer, error) {
	client := s3.New(loaded, aws.NewConfig().WithEndpoint(endpoint).WithS3ForcePathStyle(true))
	if _, err := client.PutObject(&s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(content)}); err != nil {
		return answer{}, err
	}
	object, err := client.GetObject(&s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = object.Body.Close() }()
	read, err := io.ReadAll(object.Body)
	return answer{Content: string(read)}, err
}

// describe returns the innermost code. The outer codes are those of the SDK.
func describe(err error) *failure {
	f := &failure{Message: err.Error()}
	for err != nil {
		coded, ok := errors.AsType[awserr.Error](err)
		if !ok {
			break
		}
		f.Code, err = coded.Code(), coded.OrigErr()
	}
	return f
}
