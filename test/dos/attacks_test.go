package dos_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"
)

// attack is an attack that a client repeats as often as it can until its context ends.
type attack struct {
	name string
	// attackers is the number of concurrent attackers.
	attackers int
	// atLeast is the number of attempts after which the attack counts as effective.
	atLeast int64
	// makes is requests if the attack gets as far as a request. If not, a client
	// certificate makes no difference.
	makes request
	run   func(context.Context, *attackConn)
}

// request reports whether an attack sends requests to /mutate.
type request bool

const (
	connections request = false
	requests    request = true
)

// limit is the limit of a request body in bytes.
const limit = 7 << 20

func attacks() []attack {
	pad := func(size int) string { return strings.Repeat("x", size-1024) }
	list := func(item string, size int) string { return item + strings.Repeat(","+item, (size-1024)/(len(item)+1)) }
	manyContainers := reviewOf(`{"serviceAccountName":"app","containers":[` + list(`{}`, 3*9900) + `]}`)
	var bomb bytes.Buffer
	compressor := gzip.NewWriter(&bomb)
	_, _ = compressor.Write(bytes.Repeat([]byte(" "), 64<<20))
	_ = compressor.Close()
	return []attack{
		{"none", 1, 0, requests, func(ctx context.Context, _ *attackConn) { <-ctx.Done() }},
		{"incomplete handshakes", 1000, 1000, connections, hold(nil, []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3})},
		// Fewer than the connection limit: otherwise an API server's handshake could be the
		// connection that is closed.
		{"incomplete ClientHello", 1500, 3000, connections, hold(nil, clientHello(60<<10))},
		{"incomplete ClientHello below the size limit", 2000, 2000, connections, hold(nil, clientHello(19<<10))},
		{"certificates of 200 KiB", 32, 2200, connections, idle(showing(200<<10), 2200/32+1)},
		{"certificates of 8 KiB", 32, 2200, connections, idle(showing(7<<10), 2200/32+1)},
		{"10,000 idle TCP connections", 32, 10000, connections, idle(plain, 10000/32+1)},
		{"10,000 idle TLS connections", 32, 10000, connections, idle(asHTTP1, 10000/32+1)},
		{"incomplete headers", 500, 500, connections, hold(asHTTP1, []byte("POST /mutate HTTP/1.1\r\nHost: webhook\r\nX-Header: "))},
		{"incomplete bodies", 500, 1000, requests, hold(asHTTP1, append([]byte(header(limit, "")), bytes.Repeat([]byte(" "), 64<<10)...))},
		{"bodies that complete late", 500, 1000, requests, hold(asHTTP1, append([]byte(header(limit, "")), bytes.Repeat([]byte(" "), limit-1)...))},
		{"rejected incomplete bodies", 500, 1000, requests, unread([]byte(strings.Replace(header(limit, ""), "application/json", "text/plain", 1)))},
		{"bodies at the limit", 32, 64, requests, post(reviewOf(`{"serviceAccountName":"app","containers":[{"name":"a","env":[{"name":"A","value":"`+pad(limit)+`"}]}]}`), "")},
		{"bodies above the limit", 32, 64, requests, post(bytes.Repeat([]byte(" "), limit+1), "")},
		{"containers up to the body limit", 32, 64, requests, post(reviewOf(`{"serviceAccountName":"app","containers":[`+list(`{}`, limit)+`]}`), "")},
		{"the most containers that are accepted", 32, 64, requests, post(manyContainers, "")},
		{"unread responses", 32, 32, requests, unreadResponse(manyContainers)},
		{"ServiceAccounts that do not exist", 32, 32, requests, unknown},
		{"variables up to the body limit", 32, 64, requests, post(reviewOf(`{"serviceAccountName":"app","containers":[{"name":"a","env":[`+list(`{"name":"AWS_A","value":"a"}`, limit)+`]}]}`), "")},
		{"annotations up to the body limit", 32, 64, requests, post(podWithAnnotations(limit), "")},
		{"JSON members up to the body limit", 32, 64, requests, post(reviewOf(`{"serviceAccountName":"app","x":{`+list(`"f:name":{}`, limit)+`}}`), "")},
		{"JSON nested too deeply", 32, 64, requests, post(reviewOf(`{"serviceAccountName":`+strings.Repeat("[", limit-1024)), "")},
		{"deeply nested JSON", 32, 64, requests, post(reviewOf(`{"x":`+strings.Repeat(strings.Repeat("[", 9000)+strings.Repeat("]", 9000)+`,"x":`, limit/18100)+`1}`), "")},
		{"a compressed body", 32, 64, requests, post(bomb.Bytes(), "Content-Encoding: gzip\r\n")},
		{"a 1 MiB header", 32, 100, connections, send(asHTTP1, []byte("GET /healthz HTTP/1.1\r\nHost: webhook\r\nX-Header: "+strings.Repeat("x", 1<<20)))},
		{"TLS garbage", 32, 1000, connections, send(nil, nil)},
		{"plain HTTP", 32, 1000, connections, send(nil, []byte("GET /healthz HTTP/1.1\r\nHost: webhook\r\n\r\n"))},
		{"consecutive handshakes", 8, 500, connections, handshakes},
		{"HTTP/2 without negotiation", 32, 1000, connections, send(asHTTP1, []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"))},
	}
}

func podWithAnnotations(size int) []byte {
	var annotations strings.Builder
	for i := 0; annotations.Len() < size-1024; i++ {
		fmt.Fprintf(&annotations, `"%x":"",`, i)
	}
	return bytes.Replace(reviewOf(smallSpec), []byte(`"metadata":{`), []byte(`"metadata":{"annotations":{`+annotations.String()+`"a":""},`), 1)
}

// clientHello returns the first n bytes of a ClientHello with a declared length of 64 KiB,
// the maximum of crypto/tls.
func clientHello(n int) []byte {
	message := append([]byte{1, 0, 0xff, 0xff}, make([]byte, n)...)
	var records []byte
	for part := range slices.Chunk(message, 16<<10) {
		records = append(records, 22, 3, 1, byte(len(part)>>8), byte(len(part)))
		records = append(records, part...)
	}
	return records
}

// unknown requests pods with many containers and ServiceAccounts that do not exist, each of
// which the webhook reads from the API server.
func unknown(ctx context.Context, s *attackConn) {
	containers := strings.Repeat(",{}", 5000)
	for ctx.Err() == nil {
		postOnce(ctx, s, reviewOf(fmt.Sprintf(`{"serviceAccountName":"x%s","containers":[{}%s]}`, strings.ToLower(rand.Text()), containers)), "")
	}
}

// unreadResponse sends a body and does not read the response. It starts again when the
// webhook closes the connection.
func unreadResponse(body []byte) func(context.Context, *attackConn) {
	request := append([]byte(header(len(body), "")), body...)
	return func(ctx context.Context, s *attackConn) {
		for ctx.Err() == nil {
			conn, err := s.dialTLS(ctx)
			s.attempts.Add(1)
			if err != nil {
				continue
			}
			// Otherwise the kernel buffers the complete response.
			_ = conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10)
			drip(conn, request)
			_ = conn.Close()
		}
	}
}

// connect opens a connection; asHTTP1 opens one with TLS.
type connect func(context.Context, *attackConn) (net.Conn, error)

func asHTTP1(ctx context.Context, s *attackConn) (net.Conn, error) { return s.dialTLS(ctx) }

// showing opens connections with client certificates of the given size, each different.
func showing(size int) connect {
	return func(ctx context.Context, s *attackConn) (net.Conn, error) {
		certificate, err := selfSigned(size)
		if err != nil {
			return nil, err
		}
		return s.dialTLS(ctx, certificate)
	}
}

func plain(ctx context.Context, s *attackConn) (net.Conn, error) { return s.dial(ctx) }

func header(length int, more string) string {
	return fmt.Sprintf("POST /mutate?timeout=10s HTTP/1.1\r\nHost: webhook\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n", length, more)
}

// trickle is the interval of bytes in incomplete messages.
const trickle = 500 * time.Millisecond

// hold opens a connection, sends the beginning, and then a byte per trickle until the
// webhook closes the connection. Then it starts again.
func hold(connect connect, beginning []byte) func(context.Context, *attackConn) {
	if connect == nil {
		connect = plain
	}
	return func(ctx context.Context, s *attackConn) {
		for ctx.Err() == nil {
			conn, err := connect(ctx, s)
			s.attempts.Add(1)
			if err != nil {
				continue
			}
			go drip(conn, beginning)
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}
}

// unread is hold without reading the rejection.
func unread(beginning []byte) func(context.Context, *attackConn) {
	return func(ctx context.Context, s *attackConn) {
		for ctx.Err() == nil {
			conn, err := asHTTP1(ctx, s)
			s.attempts.Add(1)
			if err != nil {
				continue
			}
			drip(conn, beginning)
			_ = conn.Close()
		}
	}
}

// idle opens n connections and leaves them idle.
func idle(connect connect, n int) func(context.Context, *attackConn) {
	return func(ctx context.Context, s *attackConn) {
		for range n {
			if _, err := connect(ctx, s); err == nil {
				s.attempts.Add(1)
			}
		}
		<-ctx.Done()
	}
}

func drip(conn net.Conn, beginning []byte) {
	if _, err := conn.Write(beginning); err != nil {
		return
	}
	pace := time.NewTicker(trickle)
	defer pace.Stop()
	for range pace.C {
		if _, err := conn.Write([]byte(" ")); err != nil {
			return
		}
	}
}

// send opens a connection, sends the content, or random bytes if it is nil, and reads the
// response.
func send(connect connect, content []byte) func(context.Context, *attackConn) {
	if connect == nil {
		connect = plain
	}
	return func(ctx context.Context, s *attackConn) {
		for ctx.Err() == nil {
			conn, err := connect(ctx, s)
			s.attempts.Add(1)
			if err != nil {
				continue
			}
			content := content
			if content == nil {
				content = make([]byte, 4096)
				_, _ = rand.Read(content)
			}
			_ = conn.SetDeadline(time.Now().Add(time.Second))
			_, _ = conn.Write(content)
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}
	}
}

// handshakes repeats handshakes, which cost the webhook CPU.
func handshakes(ctx context.Context, s *attackConn) {
	for ctx.Err() == nil {
		if conn, err := asHTTP1(ctx, s); err == nil {
			s.attempts.Add(1)
			_ = conn.Close()
		}
	}
}

// post sends a body repeatedly.
func post(body []byte, more string) func(context.Context, *attackConn) {
	return func(ctx context.Context, s *attackConn) {
		for ctx.Err() == nil {
			postOnce(ctx, s, body, more)
		}
	}
}

func postOnce(ctx context.Context, s *attackConn, body []byte, more string) {
	conn, err := asHTTP1(ctx, s)
	s.attempts.Add(1)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = conn.Write([]byte(header(len(body), more)))
	_, _ = conn.Write(body)
	answer := make([]byte, 64<<10)
	for {
		if _, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 200")) {
			return
		}
	}
}
