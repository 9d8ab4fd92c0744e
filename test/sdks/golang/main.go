// This program is an application that uses the AWS SDK for Go as most do: it
// takes its credentials from wherever the SDK finds them. It says who it is, or
// writes an object and reads it back; what it prints is for the tests.
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

// timeout bounds a run; all that is called is on this machine.
const timeout = time.Minute

// answer is what is printed, one of its fields.
type answer struct {
	Version string   `json:"version,omitempty"`
	ARN     string   `json:"arn,omitempty"`
	Content string   `json:"content,omitempty"`
	Error   *failure `json:"error,omitempty"`
}

// failure is an error of the SDK: its type, and the service's code for it.
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

// describe finds the innermost error that has a code, whose type is what an
// application would ask for by errors.As.
func describe(err error) *failure {
	f := &failure{Message: err.Error()}
	for ; err != nil; err = errors.Unwrap(err) {
		if coded, ok := err.(interface{ ErrorCode() string }); ok {
			f.Code, f.Type = coded.ErrorCode(), reflect.Indirect(reflect.ValueOf(err)).Type().Name()
		}
	}
	return f
}
