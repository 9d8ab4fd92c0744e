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

// anonymousClient returns a client that trusts the API server's CA and has no
// credentials, like AWS.
func anonymousClient(t *testing.T, cp *controlplane.ControlPlane) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(cp.CABundle()) {
		t.Fatal("the API server's CA file has no certificate")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// requestedToken returns a token of the ServiceAccount default/default.
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
		t.Errorf("got key ID %s in the token, want the computed %s", claims.KeyID, id)
	}
	for name, test := range map[string]struct {
		change func(string) (string, error)
		want   issuer.Expected
		reason issuer.Reason
	}{
		"a token signed with an unknown key": {change: tokentest.SignWithUnknownKey, want: want, reason: issuer.BadSignature},
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

// publicKeyFile writes the public part of a key in the format of `openssl pkey -pubout`.
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

// oidc runs kubectl irsa oidc as a cluster's administrator.
func oidc(t *testing.T, kubeconfig string, args ...string) (text string, code int) {
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
	// The shared control plane has one key. This one has two, as in a rotation.
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
				t.Fatalf("got exit code %d", code)
			}
			for _, path := range []string{issuer.DiscoveryPath, issuer.JWKSPath} {
				written, err := os.ReadFile(filepath.Join(directory, path))
				if err != nil {
					t.Fatal(err)
				}
				status, served, err := get(t.Context(), anonymousClient(t, test.cp), test.cp.Issuer()+path)
				if err != nil || status != http.StatusOK || string(written) != served {
					t.Errorf("got file %s\nwant the API server's document (HTTP %d, error %v) %s", written, status, err, served)
				}
			}
		})
	}
}

// caFile writes the CA of the API server's certificate to a file.
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
	text, code := oidc(t, cluster.Kubeconfig(), "rotate-check", ca)
	if id := keyIDOf(t, cluster.SigningKey()); code != 0 || !strings.Contains(text, id+"   the cluster   yes         1 of 1         ok") {
		t.Errorf("got exit code %d, want 0 and that key %s signs and is published", code, id)
	}
	if text, code := oidc(t, cluster.Kubeconfig(), "rotate-check", ca, "--public-key="+nextKeyFile(t)); code != 2 || !strings.Contains(text, "is missing") {
		t.Errorf("key that is not published: got exit code %d", code)
	}
	// ServiceAccounts may read the issuer's keys but may not request tokens.
	text, code = oidc(t, cluster.Kubeconfig(), "rotate-check", ca, "--as=system:serviceaccount:default:default")
	if code != 3 || !strings.Contains(text, "could not determine the signing key") || !strings.Contains(text, "--serviceaccount") {
		t.Errorf("without permission to request tokens: got exit code %d", code)
	}
	text, code = oidc(t, cluster.Kubeconfig(), "rotate-check", ca, "--as=unprivileged", "--issuer="+cluster.Issuer())
	if code != 3 || !strings.Contains(text, "system:service-account-issuer-discovery") {
		t.Errorf("without any permission: got exit code %d", code)
	}
}

// TestOIDC_rotation runs the steps of a rotation. oidc serve publishes the next key next
// to the cluster's, and rotate-check must see both.
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
		t.Errorf("before oidc serve: got exit code %d", code)
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
				t.Errorf("oidc serve failed: %v", err)
			}
		}
	}

	stop := serve()
	if _, code := oidc(t, cluster.Kubeconfig(), check...); code != 2 {
		t.Errorf("with only the cluster's key: got exit code %d", code)
	}
	stop()
	stop = serve("--with-cluster", "--public-key="+next)
	defer stop()
	if _, code := oidc(t, cluster.Kubeconfig(), check...); code != 0 {
		t.Errorf("with both keys: got exit code %d", code)
	}
	published, err := issuer.Discover(t.Context(), anonymousClient(t, cluster), publicIssuer)
	if err != nil {
		t.Fatal(err)
	}
	if found := len(published.Keys.Keys); found != 2 {
		t.Errorf("got %d served keys", found)
	}
	_, err = published.Verify(t.Context(), requestedToken(t, stsAudience), issuer.Expected{Audiences: []string{stsAudience}})
	if failure, ok := errors.AsType[*issuer.VerificationError](err); !ok || failure.Reason != issuer.WrongIssuer {
		t.Errorf("got %v, want a valid signature and a wrong issuer", err)
	}
}
