// Command floor answers every request with the same AdmissionReview, once it has
// read the body: what a webhook costs beyond that is its own. It is a program of
// its own so that it is as small as such a server can be.
package main

import (
	"crypto/tls"
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

// answer is what a webhook says that adds a volume, a mount and a variable.
//
//go:embed answer.json
var answer []byte

func main() {
	if err := serve(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "floor: %v\n", err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
}

// serve serves until the process is ended, with a server that is configured as the
// webhook's is in pkg/webhook.
func serve(args []string) error {
	flags := flag.NewFlagSet("floor", flag.ContinueOnError)
	port := flags.Int("port", 0, "port to listen on, on loopback")
	certFile := flags.String("tls-cert", "", "PEM `file` of the serving certificate")
	keyFile := flags.String("tls-key", "", "PEM `file` of its key")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server := &http.Server{
		Addr:      net.JoinHostPort("127.0.0.1", strconv.Itoa(*port)),
		Handler:   http.HandlerFunc(answerAlways),
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
	return server.ListenAndServeTLS(*certFile, *keyFile)
}

func answerAlways(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	_, _ = w.Write(answer)
}
