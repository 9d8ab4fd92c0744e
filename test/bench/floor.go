package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pod-identity-webhook/pod-identity-webhook/test/loopback"
)

// floorVerb is how the program is called to be the floor.
const floorVerb = "floor"

// serveFloor answers everything with the same AdmissionReview, once it has read
// the body, until ctx is done. What a webhook does beyond that is its own. The
// server is configured as the webhook's is, in pkg/webhook.
func serveFloor(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(floorVerb, flag.ContinueOnError)
	port := flags.Int("port", 0, "port to listen on")
	certFile := flags.String("tls-cert", "", "PEM `file` of the serving certificate")
	keyFile := flags.String("tls-key", "", "PEM `file` of its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	answer, err := constantAnswer()
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", loopback.Address(*port))
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:   floor(answer),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          100,
			MaxReadFrameSize:              16 << 10,
			MaxReceiveBufferPerConnection: 256 << 10,
			MaxReceiveBufferPerStream:     64 << 10,
			MaxDecoderHeaderTableSize:     4 << 10,
			MaxEncoderHeaderTableSize:     4 << 10,
			WriteByteTimeout:              10 * time.Second,
		},
		ReadHeaderTimeout: 2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		WriteTimeout:      time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return server.ServeTLS(listener, *certFile, *keyFile)
}

func floor(answer []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
		_, _ = w.Write(answer)
	}
}

// constantAnswer is what the smallest pod could be answered: one volume, one
// mount, two variables.
func constantAnswer() ([]byte, error) {
	const patch = `[{"op":"add","path":"/spec/volumes/0","value":{"name":"aws-iam-token","projected":{"sources":[{"serviceAccountToken":` +
		`{"audience":"sts.amazonaws.com","expirationSeconds":86400,"path":"token"}}]}}},` +
		`{"op":"add","path":"/spec/containers/0/volumeMounts/-","value":{"name":"aws-iam-token","readOnly":true,"mountPath":"/token"}},` +
		`{"op":"add","path":"/spec/containers/0/env","value":[{"name":"AWS_ROLE_ARN","value":"arn:aws:iam::111122223333:role/web"}]}]`
	answer, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: "AdmissionReview"},
		Response: &admissionv1.AdmissionResponse{
			UID: "5b9ef4c8-1b4e-4f3a-9d2e-2f1f0f6f6d10", Allowed: true,
			Patch: []byte(patch), PatchType: new(admissionv1.PatchTypeJSONPatch),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the constant answer: %w", err)
	}
	return answer, nil
}
