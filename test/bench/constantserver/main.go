// Command constantserver responds to every request with the same AdmissionReview, after
// it has read the body. It is the floor of the benchmarks: any additional cost is the
// webhook's. It is a separate program, so that it is as small as such a server can be.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// answer is an AdmissionReview whose patch adds a volume, a mount and a variable.
//
//go:embed answer.json
var answer []byte

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "constantserver: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// serve serves until the process is killed. The server has the same configuration as
// the webhook's server.
func serve(args []string) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	port := flags.Int("port", 0, "`port` to listen on, on loopback")
	certFile := flags.String("tls-cert", "", "PEM `file` with the serving certificate")
	keyFile := flags.String("tls-key", "", "PEM `file` with the key of the certificate")
	read := flags.String("read", "", "`URL` to get before each response, as a webhook gets a ServiceAccount")
	readCA := flags.String("read-ca", "", "PEM `file` with the CA of the URL's server")
	readToken := flags.String("read-token", "", "`file` with the bearer token for the URL")
	if err := flags.Parse(args); err != nil {
		return err
	}
	handler := http.HandlerFunc(answerAlways)
	if *read != "" {
		reader, err := newReader(*read, *readCA, *readToken)
		if err != nil {
			return err
		}
		handler = reader.answer
	}
	server := &http.Server{
		Addr:              net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)),
		Handler:           handler,
		TLSConfig:         &tls.Config{MinVersion: tls.VersionTLS12},
		Protocols:         new(http.Protocols),
		ReadHeaderTimeout: 2 * time.Minute,
		IdleTimeout:       2 * time.Minute,
		WriteTimeout:      time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	server.Protocols.SetHTTP1(true)
	return server.ListenAndServeTLS(*certFile, *keyFile)
}

// reader gets a URL before each response, with only net/http.
type reader struct {
	url, authorization string
	client             *http.Client
}

func newReader(url, caFile, tokenFile string) (*reader, error) {
	ca, err := os.ReadFile(caFile) //nolint:gosec // a file of this benchmark
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(tokenFile) //nolint:gosec // a file of this benchmark
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s", caFile)
	}
	return &reader{url: url, authorization: "Bearer " + string(token), client: &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}}}, nil
}

func (r *reader) answer(w http.ResponseWriter, request *http.Request) {
	if err := r.read(request.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	answerAlways(w, request)
}

func (r *reader) read(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", r.authorization)
	request.Header.Set("Accept", "application/vnd.kubernetes.protobuf")
	response, err := r.client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("get %s: %s: %w", r.url, response.Status, err)
	}
	return nil
}

func answerAlways(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}
