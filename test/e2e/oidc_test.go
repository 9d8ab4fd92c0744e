package e2e_test

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/keyutil"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token"
	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/controlplane"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/freeport"
	"github.com/pod-identity-webhook/pod-identity-webhook/test/tokentest"
)

// anonymousClient is a client with no credentials that knows the API server, as AWS is.
func anonymousClient(t *testing.T, cp *controlplane.ControlPlane) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cp.CABundle()) {
		t.Fatal("the API server's CA is none")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// requestedToken is one of the ServiceAccount default of the namespace default.
func requestedToken(t *testing.T, audience string) string {
	t.Helper()
	issued, err := newClient(t).CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return issued.Status.Token
}

func TestOIDC_verifyToken(t *testing.T) {
	published, err := issuer.Discover(t.Context(), anonymousClient(t, cluster), cluster.Issuer())
	if err != nil {
		t.Fatal(err)
	}
	raw := requestedToken(t, stsAudience)
	want := issuer.Expected{Audiences: []string{stsAudience}, Subject: token.Subject("default", "default")}
	claims, err := published.Verify(t.Context(), raw, want)
	if err != nil {
		t.Fatal(err)
	}
	if id := keyIDOf(t, cluster.SigningKey()); claims.KeyID != id {
		t.Errorf("the API server signs with the key %s, and we compute %s", claims.KeyID, id)
	}
	for name, test := range map[string]struct {
		change func(string) (string, error)
		want   issuer.Expected
		reason issuer.Reason
	}{
		"a token by a foreign key": {change: tokentest.SignWithUnknownKey, want: want, reason: issuer.BadSignature},
		"a token that has expired": {
			change: func(raw string) (string, error) { return tokentest.Expired(raw, cluster.SigningKey()) }, want: want, reason: issuer.Expired,
		},
		"a token for another audience":      {want: issuer.Expected{Audiences: []string{otherAudience}}, reason: issuer.WrongAudience},
		"a token of another ServiceAccount": {want: issuer.Expected{Audiences: want.Audiences, Subject: token.Subject("default", "other")}, reason: issuer.WrongSubject},
	} {
		t.Run(name, func(t *testing.T) {
			changed := raw
			if test.change != nil {
				if changed, err = test.change(raw); err != nil {
					t.Fatal(err)
				}
			}
			_, err := published.Verify(t.Context(), changed, test.want)
			if failure, ok := errors.AsType[*issuer.VerificationError](err); !ok || failure.Reason != test.reason {
				t.Errorf("got %v, want %s", err, test.reason)
			}
		})
	}
}

func keyIDOf(t *testing.T, privateKeyFile string) string {
	t.Helper()
	key, err := keyutil.PrivateKeyFromFile(privateKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	id, err := issuer.KeyID(key.(crypto.Signer).Public())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// publicKeyFile writes the public part of a key, as `openssl pkey -pubout` does.
func publicKeyFile(t *testing.T, key crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pub")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func signingKeyFile(t *testing.T, cp *controlplane.ControlPlane) string {
	t.Helper()
	key, err := keyutil.PrivateKeyFromFile(cp.SigningKey())
	if err != nil {
		t.Fatal(err)
	}
	return publicKeyFile(t, key.(*rsa.PrivateKey).Public())
}

func nextKeyFile(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return publicKeyFile(t, key.Public())
}

// oidc runs kubectl irsa oidc with a cluster's administrator.
func oidc(t *testing.T, kubeconfig string, args ...string) (said string, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), pluginBinary(t), append([]string{"oidc"}, args...)...)
	command.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + t.TempDir()}
	output, err := command.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	} else if ok {
		code = exit.ExitCode()
	}
	t.Logf("kubectl irsa oidc %s: exit code %d\n%s", strings.Join(args, " "), code, output)
	return string(output), code
}

func TestOIDC_documentsMatchAPIServer(t *testing.T) {
	// The control plane that the tests share has one key; this one is in a rotation.
	next := nextKeyFile(t)
	rotating, err := controlplane.Start(t.Context(), controlplane.Options{
		Dir: t.TempDir(), Log: os.Stderr, APIServerFlags: []string{"--service-account-key-file=" + next},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rotating.Stop)
	for name, test := range map[string]struct {
		cp   *controlplane.ControlPlane
		args []string
	}{
		"of a running cluster":                  {cluster, nil},
		"of a public key file":                  {cluster, []string{"--public-key=" + signingKeyFile(t, cluster), "--issuer=" + cluster.Issuer()}},
		"of a running cluster in a rotation":    {rotating, nil},
		"of the public key files of a rotation": {rotating, []string{"--public-key=" + signingKeyFile(t, rotating), "--public-key=" + next, "--issuer=" + rotating.Issuer()}},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			if _, code := oidc(t, test.cp.Kubeconfig(), append([]string{"documents", "-d=" + directory}, test.args...)...); code != 0 {
				t.Fatalf("it ended with %d", code)
			}
			for _, path := range []string{issuer.DiscoveryPath, issuer.JWKSPath} {
				written, err := os.ReadFile(filepath.Join(directory, path))
				if err != nil {
					t.Fatal(err)
				}
				status, served, err := get(t.Context(), anonymousClient(t, test.cp), test.cp.Issuer()+path)
				if err != nil || status != http.StatusOK || string(written) != served {
					t.Errorf("it wrote  %s\nthe API server has (%d, %v) %s", written, status, err, served)
				}
			}
		})
	}
}

// caFile has the CA that the API server's certificate is of.
func caFile(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(file, cluster.CABundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestOIDC_rotateCheckSigningKey(t *testing.T) {
	ca := "--issuer-ca-file=" + caFile(t)
	said, code := oidc(t, cluster.Kubeconfig(), "rotate-check", ca)
	if id := keyIDOf(t, cluster.SigningKey()); code != 0 || !strings.Contains(said, id+"   the cluster   yes         1 of 1         ok") {
		t.Errorf("it ended with %d, and should say that the key %s signs and is published", code, id)
	}
	if said, code := oidc(t, cluster.Kubeconfig(), "rotate-check", ca, "--public-key="+nextKeyFile(t)); code != 2 || !strings.Contains(said, "it lacks the key") {
		t.Errorf("a key that is not published: it ended with %d", code)
	}
	// ServiceAccounts may read the keys, and may not ask for tokens.
	said, code = oidc(t, cluster.Kubeconfig(), "rotate-check", ca, "--as=system:serviceaccount:default:default")
	if code != 3 || !strings.Contains(said, "could not determine the signing key") || !strings.Contains(said, "--serviceaccount") {
		t.Errorf("without the right to ask for tokens it ended with %d", code)
	}
	said, code = oidc(t, cluster.Kubeconfig(), "rotate-check", ca, "--as=somebody", "--issuer="+cluster.Issuer())
	if code != 3 || !strings.Contains(said, "system:service-account-issuer-discovery") {
		t.Errorf("without any right it ended with %d", code)
	}
}

// TestOIDC_rotation goes the way of a rotation: the next key is served
// beside that of the cluster, and rotate-check sees it there.
func TestOIDC_rotation(t *testing.T) {
	directory := filepath.Dir(cluster.Kubeconfig())
	port, err := freeport.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := freeport.Address(port)
	next, publicIssuer := nextKeyFile(t), "https://"+address
	check := []string{"rotate-check", "--issuer=" + publicIssuer, "--issuer-ca-file=" + caFile(t), "--public-key=" + next}
	if _, code := oidc(t, cluster.Kubeconfig(), check...); code != 3 {
		t.Errorf("before anything is served, it ended with %d", code)
	}
	serve := func(args ...string) (stop func()) {
		t.Helper()
		command := exec.CommandContext(t.Context(), pluginBinary(t), append([]string{
			"oidc", "serve", "--address=" + address, "--issuer=" + publicIssuer,
			"--tls-cert=" + filepath.Join(directory, "apiserver.crt"), "--tls-key=" + filepath.Join(directory, "apiserver.key"),
		}, args...)...)
		command.Env = []string{"KUBECONFIG=" + cluster.Kubeconfig(), "HOME=" + t.TempDir()}
		command.Stderr = os.Stderr
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "Serving at https://") {
			continue
		}
		return func() {
			t.Helper()
			if err := command.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, output); err != nil {
				t.Error(err)
			}
			if err := command.Wait(); err != nil {
				t.Errorf("it did not end well: %v", err)
			}
		}
	}

	stop := serve()
	if _, code := oidc(t, cluster.Kubeconfig(), check...); code != 2 {
		t.Errorf("with the cluster's key alone, it ended with %d", code)
	}
	stop()
	stop = serve("--with-cluster", "--public-key="+next)
	defer stop()
	if _, code := oidc(t, cluster.Kubeconfig(), check...); code != 0 {
		t.Errorf("with both keys, it ended with %d", code)
	}
	published, err := issuer.Discover(t.Context(), anonymousClient(t, cluster), publicIssuer)
	if err != nil {
		t.Fatal(err)
	}
	if found := len(published.Keys.Keys); found != 2 {
		t.Errorf("it serves %d keys", found)
	}
	_, err = published.Verify(t.Context(), requestedToken(t, stsAudience), issuer.Expected{Audiences: []string{stsAudience}})
	if failure, ok := errors.AsType[*issuer.VerificationError](err); !ok || failure.Reason != issuer.WrongIssuer {
		t.Errorf("got %v: the signature is good, the issuer is another", err)
	}
}
