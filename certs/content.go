package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The keys of the Secret's data. Those of the serving certificate are the usual
// ones of type kubernetes.io/tls.
const (
	// authoritiesKey has the CAs that are to be trusted, the newest first.
	authoritiesKey = "ca.crt"
	// signerKey has the key of the newest CA. Those of former CAs are not kept:
	// nothing more is to be signed with them.
	signerKey  = "ca.key"
	servingKey = corev1.TLSPrivateKeyKey
	servingCrt = corev1.TLSCertKey
)

// content is what the Secret holds, as far as it can be used.
type content struct {
	authorities []*x509.Certificate
	// signer is nil if it is not there: that asks for a new CA.
	signer  crypto.Signer
	serving *tls.Certificate
}

// parse reads the data of a Secret. It returns what can be used, and an error if
// that is not all. The errors name the key, never what is in it.
func parse(data map[string][]byte, names []string) (content, error) {
	authorities, err := parseAuthorities(data[authoritiesKey])
	if err != nil {
		return content{}, fmt.Errorf("%s: %w", authoritiesKey, err)
	}
	c := content{authorities: authorities}
	var faults []error
	if keyPEM := data[signerKey]; len(keyPEM) > 0 {
		if c.signer, err = parseSigner(keyPEM, authorities[0]); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", signerKey, err))
		}
	}
	if c.serving, err = parseServing(data[servingCrt], data[servingKey], authorities, names); err != nil {
		faults = append(faults, fmt.Errorf("%s, %s: %w", servingCrt, servingKey, err))
	}
	return c, errors.Join(faults...)
}

func parseAuthorities(bundle []byte) ([]*x509.Certificate, error) {
	certificates, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return nil, err
	}
	for _, certificate := range certificates {
		if !certificate.BasicConstraintsValid || !certificate.IsCA || certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("the certificate %q is not a CA's", certificate.Subject)
		}
	}
	return certificates, nil
}

func parseSigner(keyPEM []byte, ca *x509.Certificate) (crypto.Signer, error) {
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(ca.PublicKey) {
		return nil, fmt.Errorf("not the key of the first CA in %s", authoritiesKey)
	}
	return signer, nil
}

func parseServing(certPEM, keyPEM []byte, authorities []*x509.Certificate, names []string) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	c := content{authorities: authorities, serving: &pair}
	if c.issuer() == nil {
		return nil, fmt.Errorf("not signed by a CA in %s", authoritiesKey)
	}
	if !slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return nil, errors.New("not for servers")
	}
	for _, name := range names {
		if err := pair.Leaf.VerifyHostname(name); err != nil {
			return nil, err
		}
	}
	return &pair, nil
}

// data is the inverse of parse.
func (c content) data() (map[string][]byte, error) {
	caKey, err := encodeKey(c.signer)
	if err != nil {
		return nil, fmt.Errorf("encode the CA's key: %w", err)
	}
	key, err := encodeKey(c.serving.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode the serving certificate's key: %w", err)
	}
	return map[string][]byte{
		authoritiesKey: c.bundle(),
		signerKey:      caKey,
		servingCrt:     encode(c.serving.Leaf),
		servingKey:     key,
	}, nil
}

// bundle is the caBundle by which the API server trusts what the webhook serves.
func (c content) bundle() []byte { return encode(c.authorities...) }

func encode(certificates ...*x509.Certificate) []byte {
	var bundle bytes.Buffer
	for _, certificate := range certificates {
		// A Buffer takes all.
		_ = pem.Encode(&bundle, &pem.Block{Type: cert.CertificateBlockType, Bytes: certificate.Raw})
	}
	return bundle.Bytes()
}

func encodeKey(key any) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyutil.PrivateKeyBlockType, Bytes: der}), nil
}

// issuer is the CA that has signed the serving certificate, nil if there is none.
func (c content) issuer() *x509.Certificate {
	if c.serving == nil {
		return nil
	}
	for _, authority := range c.authorities {
		if c.serving.Leaf.CheckSignatureFrom(authority) == nil {
			return authority
		}
	}
	return nil
}

func contains(authorities []*x509.Certificate, authority *x509.Certificate) bool {
	return slices.ContainsFunc(authorities, authority.Equal)
}

// valid says whether a certificate may be used at a time.
func valid(certificate *x509.Certificate, now time.Time) bool {
	return !now.Before(certificate.NotBefore) && now.Before(certificate.NotAfter)
}
