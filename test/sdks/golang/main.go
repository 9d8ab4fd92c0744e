// This program is a typical application with the AWS SDK for Go: it uses the SDK's default
// credential chain. It prints its identity, or writes an object and reads it back. The tests
// parse its output.
//
//	golang version
//	golang whoami
//	golang store ENDPOINT BUCKET KEY CONTENT
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// timeout is the limit for a run; all servers are on this machine.
const timeout = time.Minute

// answer is the output. One of its fields is set.
type answer struct {
	Version string   `json:"version,omitempty"`
	ARN     string   `json:"arn,omitempty"`
	Content string   `json:"content,omitempty"`
	Error   *failure `json:"error,omitempty"`
}

// failure is an error of the SDK, with its type and the service's error code.
type failure struct {
	Type    string `json:"type"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	a, err := run(ctx, os.Args[1:])
	if err != nil {
		a = answer{Error: describe(err)}
	}
	encoded, err := json.Marshal(a)
	if err != nil {
		panic(err)
	}
	fmt.Fprintln(os.Stdout, string(encoded))
}

func run(ctx context.Context, args []string) (answer, error) {
	if len(args) == 1 && args[0] == "version" {
		return answer{Version: aws.SDKVersion}, nil
	}
	loaded, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return answer{}, err
	}
	if len(args) == 5 && args[0] == "store" {
		return store(ctx, loaded, args[1], args[2], args[3], args[4])
	}
	identity, err := sts.NewFromConfig(loaded).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return answer{}, err
	}
	return answer{ARN: aws.ToString(identity.Arn)}, nil
}

func store(ctx context.Context, loaded aws.Config, endpoint, bucket, key, content string) (answer, error) {
	client := s3.NewFromConfig(loaded, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = &endpoint, true })
	if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(content)}); err != nil {
		return answer{}, err
	}
	object, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = object.Body.Close() }()
	read, err := io.ReadAll(object.Body)
	return answer{Content: string(read)}, err
}

// describe returns the innermost error with a code. An application would match its type with
// errors.As.
func describe(err error) *failure {
	f := &failure{Message: err.Error()}
	for ; err != nil; err = errors.Unwrap(err) {
		if coded, ok := err.(interface{ ErrorCode() string }); ok {
			f.Code, f.Type = coded.ErrorCode(), reflect.Indirect(reflect.ValueOf(err)).Type().Name()
		}
	}
	return f
}
