package certs

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The keys of the Secret's data.
const (
	// caCertKey has the certificates of the signers in their order, then those of the
	// former CAs.
	caCertKey = "ca.crt"
	// signersKey has the keys of the signers, in the same order. Earlier versions,
	// which support only one signer, read the first key and expect that of the first
	// CA.
	signersKey = "ca.key"
	// retiredKey has the retired entries of the caBundles.
	retiredKey = "retired.json"
)

// maxSigners counts the CA that signs and the one that takes over next.
const maxSigners = 2

// authority is a CA with its key.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// secretContent is the valid content of the Secret.
type secretContent struct {
	// signers are the CAs whose keys are in the Secret. The first signs the serving
	// certificates. The second takes over when API servers trust it. There are none
	// if a user removed the key to request a new CA.
	signers []authority
	// former are the CAs without a key. Only those that are retired are published:
	// anyone could have added the others.
	former []*x509.Certificate
	// retired has the caBundle entries that belong to no signer, by fingerprint, with
	// the time since when they have been retired. An entry stays for one serving
	// lifetime, because replicas may still serve a certificate of that CA.
	retired map[string]time.Time
}

// parseContent parses the data of a Secret. It returns the valid parts, and an error
// if others are invalid. The errors name the key, never its value.
func parseContent(data map[string][]byte) (secretContent, error) {
	var c secretContent
	var invalid []error
	if encoded := data[retiredKey]; len(encoded) > 0 {
		if err := json.Unmarshal(encoded, &c.retired); err != nil {
			// The error of encoding/json quotes its input.
			invalid = append(invalid, fmt.Errorf("%s: invalid JSON", retiredKey))
			c.retired = nil
		}
	}
	authorities, err := parseAuthorities(data[caCertKey])
	if err != nil {
		return c, errors.Join(append(invalid, fmt.Errorf("%s: %w", caCertKey, err))...)
	}
	keys, err := parseSigners(data[signersKey])
	if err != nil {
		return secretContent{former: authorities, retired: c.retired}, errors.Join(append(invalid, fmt.Errorf("%s: %w", signersKey, err))...)
	}
	for _, ca := range authorities {
		match := slices.IndexFunc(keys, func(key crypto.Signer) bool { return isKeyOf(key, ca) })
		switch {
		case c.trusts(ca): // a repeated entry
		case match < 0:
			c.former = append(c.former, ca)
		default:
			c.signers = append(c.signers, authority{ca, keys[match]})
		}
	}
	if len(c.signers) != len(keys) {
		invalid = append(invalid, fmt.Errorf("%s: a key does not belong to any CA in %s", signersKey, caCertKey))
	}
	return c, errors.Join(invalid...)
}

func parseAuthorities(bundle []byte) ([]*x509.Certificate, error) {
	certificates, err := cert.ParseCertsPEM(bundle)
	if err != nil {
		return nil, err
	}
	for _, certificate := range certificates {
		if !certificate.BasicConstraintsValid || !certificate.IsCA || certificate.KeyUsage&x509.KeyUsageCertSign == 0 {
			return nil, fmt.Errorf("certificate %q is not a CA certificate", certificate.Subject)
		}
	}
	return certificates, nil
}

// parseSigners parses PEM blocks of private keys. It returns none if keyPEM is empty,
// and an error if a block is not a key that can sign.
func parseSigners(keyPEM []byte) ([]crypto.Signer, error) {
	var signers []crypto.Signer
	rest := bytes.TrimSpace(keyPEM)
	for len(rest) > 0 {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("invalid PEM")
		}
		rest = bytes.TrimSpace(rest)
		key, err := keyutil.ParsePrivateKeyPEM(pem.EncodeToMemory(block))
		if err != nil {
			return nil, err
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, errors.New("private key cannot sign")
		}
		signers = append(signers, signer)
	}
	return signers, nil
}

func isKeyOf(key crypto.Signer, ca *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(x crypto.PublicKey) bool })
	return ok && public.Equal(ca.PublicKey)
}

// parseStored returns the serving certificate that earlier versions store in the
// Secret for all replicas. It returns nil if there is none for all the names.
func parseStored(data map[string][]byte, names []string) *tls.Certificate {
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil || !slices.Contains(pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
		return nil
	}
	for _, name := range names {
		if pair.Leaf.VerifyHostname(name) != nil {
			return nil
		}
	}
	return &pair
}

// encode returns the data of a Secret with the content c, the inverse of
// parseContent. The value of an absent key is nil, so that a merge patch removes it.
func (c secretContent) encode() (map[string][]byte, error) {
	authorities, keys := slices.Clone(c.former), []byte(nil)
	for n, signer := range c.signers {
		authorities = slices.Insert(authorities, n, signer.certificate)
		der, err := x509.MarshalPKCS8PrivateKey(signer.key)
		if err != nil {
			return nil, fmt.Errorf("encode the key of a CA: %w", err)
		}
		keys = append(keys, pem.EncodeToMemory(&pem.Block{Type: keyutil.PrivateKeyBlockType, Bytes: der})...)
	}
	data := map[string][]byte{caCertKey: encode(authorities...), signersKey: keys, retiredKey: nil}
	if len(c.retired) > 0 {
		var err error
		if data[retiredKey], err = json.Marshal(c.retired); err != nil {
			return nil, fmt.Errorf("encode %s: %w", retiredKey, err)
		}
	}
	return data, nil
}

// published returns the CAs that belong in every caBundle.
func (c secretContent) published() []*x509.Certificate {
	var published []*x509.Certificate
	for _, signer := range c.signers {
		published = append(published, signer.certificate)
	}
	for _, former := range c.former {
		if _, retired := c.retired[fingerprint(former.Raw)]; retired {
			published = append(published, former)
		}
	}
	return published
}

// signs reports whether the Secret has the key of ca.
func (c secretContent) signs(ca *x509.Certificate) bool {
	return slices.ContainsFunc(c.signers, func(signer authority) bool { return signer.certificate.Equal(ca) })
}

// trusts reports whether ca is in the Secret, with or without its key.
func (c secretContent) trusts(ca *x509.Certificate) bool {
	return c.signs(ca) || contains(c.former, ca)
}

func encode(certificates ...*x509.Certificate) []byte {
	var bundle []byte
	for _, certificate := range certificates {
		bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: certificate.Raw})...)
	}
	return bundle
}

func contains(authorities []*x509.Certificate, ca *x509.Certificate) bool {
	return slices.ContainsFunc(authorities, ca.Equal)
}

// valid reports whether a certificate is valid at a time.
func valid(certificate *x509.Certificate, now time.Time) bool {
	return !now.Before(certificate.NotBefore) && now.Before(certificate.NotAfter)
}
