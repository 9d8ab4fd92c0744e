package httpserver_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pod-identity-webhook/pod-identity-webhook/internal/httpserver"
)

const mebibyte = 1 << 20

// refusal is a request that the webhook rejects, with a body of size bytes.
type refusal struct {
	name, method, path, contentType string
	size, status                    int
	change                          func(*httpserver.Options)
}

func refusals() []refusal {
	json := "application/json"
	strangers := func(c *httpserver.Options) { c.ClientAuth.Roots = x509.NewCertPool }
	return []refusal{
		{"a body that is too large", http.MethodPost, "/mutate", json, 9 * mebibyte, http.StatusRequestEntityTooLarge, nil},
		{"a body that is one byte too large", http.MethodPost, "/mutate", json, 7*mebibyte + 1, http.StatusRequestEntityTooLarge, nil},
		{"not JSON by its type", http.MethodPost, "/mutate", "text/plain", 3 * mebibyte, http.StatusUnsupportedMediaType, nil},
		{"a small body that is not JSON by its type", http.MethodPost, "/mutate", "text/plain", 10, http.StatusUnsupportedMediaType, nil},
		{"an invalid review", http.MethodPost, "/mutate", json, mebibyte, http.StatusBadRequest, nil},
		{"a method that the path does not take", http.MethodPut, "/mutate", json, 3 * mebibyte, http.StatusMethodNotAllowed, nil},
		{"a path that there is not", http.MethodPost, "/nowhere", json, 3 * mebibyte, http.StatusNotFound, nil},
		{"no client certificate", http.MethodPost, "/mutate", json, 3 * mebibyte, http.StatusForbidden, strangers},
		{"no client certificate, and a body at the limit", http.MethodPost, "/validate-serviceaccount", json, 7 * mebibyte, http.StatusForbidden, strangers},
	}
}

// dialHTTP1 opens a connection and sends nothing.
func dialHTTP1(t testing.TB, server *running) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(server.url, "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// wantWhole reads responses until the final one, which must have the status and its
// whole body.
func wantWhole(t *testing.T, from io.Reader, status int) {
	t.Helper()
	reader := bufio.NewReader(from)
	for {
		response, err := http.ReadResponse(reader, nil) //nolint:bodyclose // the test closes the connection
		if err != nil {
			t.Fatalf("read response: %v", err)
		}
		if response.StatusCode == http.StatusContinue {
			continue
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != status || len(body) == 0 {
			t.Errorf("got HTTP %d with a body of %d bytes and error %v, want %d", response.StatusCode, len(body), err, status)
		}
		return
	}
}

// unreadFor is longer than net/http keeps a connection after a rejection.
const unreadFor = time.Second

// TestRefusals_clientReadsLate sends each request to its end, waits until the server
// has closed the connection, and reads only then: the response must still be there.
func TestRefusals_clientReadsLate(t *testing.T) {
	t.Parallel()
	for _, refusal := range refusals() {
		for _, chunked := range []bool{false, true} {
			for _, expect := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, chunked %t, expect %t", refusal.name, chunked, expect), func(t *testing.T) {
					t.Parallel()
					conn := dialHTTP1(t, run(t, role, changes(refusal)...))
					if _, err := conn.Write(refusal.request(chunked, expect)); err != nil {
						t.Fatalf("send request: %v", err)
					}
					time.Sleep(unreadFor) // it is the client that is tested with: it does not read
					wantWhole(t, conn, refusal.status)
				})
			}
		}
	}
}

func changes(r refusal) []func(*httpserver.Options) {
	if r.change == nil {
		return nil
	}
	return []func(*httpserver.Options){r.change}
}

// request is the whole request, which does not wait for HTTP 100.
func (r refusal) request(chunked, expect bool) []byte {
	var request bytes.Buffer
	fmt.Fprintf(&request, "%s %s HTTP/1.1\r\nHost: webhook\r\nContent-Type: %s\r\n", r.method, r.path, r.contentType)
	if expect {
		request.WriteString("Expect: 100-continue\r\n")
	}
	body := strings.Repeat(" ", r.size)
	if chunked {
		fmt.Fprintf(&request, "Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", r.size, body)
	} else {
		fmt.Fprintf(&request, "Content-Length: %d\r\n\r\n%s", r.size, body)
	}
	return request.Bytes()
}

// TestRefusals_clientWaitsForContinue sends only the headers, as a client does that waits
// for HTTP 100. It sends the body if the server requests it.
func TestRefusals_clientWaitsForContinue(t *testing.T) {
	t.Parallel()
	for _, refusal := range refusals() {
		t.Run(refusal.name, func(t *testing.T) {
			t.Parallel()
			conn := dialHTTP1(t, run(t, role, changes(refusal)...))
			header, body, _ := bytes.Cut(refusal.request(false, true), []byte("\r\n\r\n"))
			if _, err := conn.Write(append(header, "\r\n\r\n"...)); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			next, err := reader.Peek(len("HTTP/1.1 100"))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(string(next), "100") {
				if _, err := conn.Write(body); err != nil {
					t.Fatal(err)
				}
			}
			wantWhole(t, reader, refusal.status)
		})
	}
}

// TestRefusals_usualClients uses the clients of Go and curl, which send and read at the
// same time.
func TestRefusals_usualClients(t *testing.T) {
	t.Parallel()
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Log("curl is not installed: only Go's client is tested")
	}
	for _, refusal := range refusals() {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, chunked %t", refusal.name, chunked), func(t *testing.T) {
				t.Parallel()
				server := run(t, role, changes(refusal)...)
				body := strings.Repeat(" ", refusal.size)
				t.Run("Go", func(t *testing.T) {
					client := &http.Client{Transport: &http.Transport{
						TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
					}}
					defer client.CloseIdleConnections()
					var reader io.Reader = strings.NewReader(body)
					if chunked {
						reader = io.MultiReader(reader) // whose length net/http does not know
					}
					request, err := http.NewRequestWithContext(t.Context(), refusal.method, server.url+refusal.path, reader)
					if err != nil {
						t.Fatal(err)
					}
					request.Header.Set("Content-Type", refusal.contentType)
					response, err := client.Do(request)
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = response.Body.Close() }()
					if got, err := io.ReadAll(response.Body); err != nil || response.StatusCode != refusal.status || len(got) == 0 {
						t.Errorf("got HTTP %d with a body of %d bytes and error %v, want %d", response.StatusCode, len(got), err, refusal.status)
					}
				})
				if curl == "" {
					return
				}
				file := filepath.Join(t.TempDir(), "body")
				if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
					t.Fatal(err)
				}
				for _, expect := range []string{"Expect:", "Expect: 100-continue"} {
					args := []string{
						"--silent", "--show-error", "--insecure", "--http1.1", "--request", refusal.method, "--data-binary", "@" + file,
						"--header", "Content-Type: " + refusal.contentType, "--header", expect, "--write-out", "\n%{http_code}", server.url + refusal.path,
					}
					if chunked {
						args = append(args, "--header", "Transfer-Encoding: chunked")
					}
					got, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
					if err != nil || !bytes.HasSuffix(got, []byte("\n"+strconv.Itoa(refusal.status))) {
						t.Errorf("curl with %q: got %v and %q, want HTTP %d", expect, err, got, refusal.status)
					}
				}
			})
		}
	}
}

// TestRefusals_noRequest sends input that net/http rejects before there is a request.
func TestRefusals_noRequest(t *testing.T) {
	t.Parallel()
	body := strings.Repeat(" ", 3*mebibyte)
	for name, sent := range map[string]struct {
		head   string
		status int
		plain  bool
	}{
		"an invalid header":       {"POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Length: x\r\n\r\n", http.StatusBadRequest, false},
		"a header without end":    {"POST /mutate HTTP/1.1\r\nHost: webhook\r\nX: " + strings.Repeat("x", mebibyte) + "\r\n\r\n", http.StatusBadRequest, false},
		"an unknown encoding":     {"POST /mutate HTTP/1.1\r\nHost: webhook\r\nTransfer-Encoding: zip\r\n\r\n", http.StatusNotImplemented, false},
		"HTTP on the port of TLS": {"POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Length: 3145728\r\n\r\n", http.StatusBadRequest, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := run(t, role)
			var conn net.Conn
			if sent.plain {
				var err error
				if conn, err = net.Dial("tcp", strings.TrimPrefix(server.url, "https://")); err != nil {
					t.Fatal(err)
				}
				defer func() { _ = conn.Close() }()
			} else {
				conn = dialHTTP1(t, server)
			}
			if _, err := io.WriteString(conn, sent.head+body); err != nil {
				t.Fatal(err)
			}
			time.Sleep(unreadFor) // it is the client that is tested with: it does not read
			wantWhole(t, conn, sent.status)
		})
	}
}

// TestRefusals_overloaded fills the quota of a host with bodies, and sends one more.
func TestRefusals_overloaded(t *testing.T) {
	t.Parallel()
	server := run(t, role)
	for range 3 {
		conn := dialHTTP1(t, server)
		if _, err := io.WriteString(conn, "POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: 7340032\r\n\r\n"+strings.Repeat(" ", 6*mebibyte)); err != nil {
			t.Fatal(err)
		}
	}
	conn := dialHTTP1(t, server)
	last := refusal{method: http.MethodPost, path: "/mutate", contentType: "application/json", size: 6 * mebibyte}
	if _, err := conn.Write(last.request(false, false)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(unreadFor) // it is the client that is tested with: it does not read
	wantWhole(t, conn, http.StatusServiceUnavailable)
}

// TestRefusals_slowBody has a client that stops in the middle of its body, and one
// that continues after the deadline.
func TestRefusals_slowBody(t *testing.T) {
	t.Parallel()
	for name, goesOn := range map[string]bool{"it stops": false, "it goes on": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialHTTP1(t, run(t, role))
			if _, err := io.WriteString(conn, "POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			reader := bufio.NewReader(conn)
			if _, err := reader.Peek(1); err != nil { // until the server gives up
				t.Fatal(err)
			}
			if goesOn {
				if _, err := conn.Write(bytes.Repeat([]byte(" "), 900)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(unreadFor) // it is the client that is tested with: it does not read
			}
			wantWhole(t, reader, http.StatusRequestTimeout)
		})
	}
}

// TestRefusals_clientNeverStops checks that the server reads from a rejected client only
// for a limited time and to a limited length.
func TestRefusals_clientNeverStops(t *testing.T) {
	t.Parallel()
	// A client has 5 s for the body, and another 5 s after it is rejected.
	const longest = 20 * time.Second
	for name, test := range map[string]struct {
		piece int
		pause time.Duration
		most  int
	}{
		// The last number includes the buffers of sockets and TLS.
		"as fast as it can": {64 << 10, 0, 32 * mebibyte},
		"byte by byte":      {1, 50 * time.Millisecond, mebibyte},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialHTTP1(t, run(t, role))
			start := time.Now()
			if _, err := io.WriteString(conn, "POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			chunk := fmt.Sprintf("%x\r\n%s\r\n", test.piece, strings.Repeat(" ", test.piece))
			sent := 0
			for time.Since(start) < longest {
				n, err := io.WriteString(conn, chunk)
				if sent += n; err != nil {
					break
				}
				time.Sleep(test.pause)
			}
			if took := time.Since(start); took >= longest || sent > test.most {
				t.Errorf("the server took %d bytes in %v", sent, took)
			}
		})
	}
}

// TestRun_endsWhileConnectionsLinger: clients that do not close their connections must
// not delay the end of the server by more than its timeout.
func TestRun_endsWhileConnectionsLinger(t *testing.T) {
	t.Parallel()
	server := run(t, role, func(c *httpserver.Options) { c.ShutdownTimeout = time.Millisecond })
	var clients sync.WaitGroup
	for range 20 {
		clients.Go(func() {
			conn := dialHTTP1(t, server)
			_, _ = io.WriteString(conn, "POST /mutate HTTP/1.1\r\nHost: webhook\r\nContent-Type: text/plain\r\nContent-Length: 3145728\r\n\r\n")
			_, _ = bufio.NewReader(conn).Peek(1)
		})
	}
	clients.Wait()
	start := time.Now()
	server.stop()
	if err := server.end(t); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("got an end after %v, want it before a connection has lingered", took)
	}
}
