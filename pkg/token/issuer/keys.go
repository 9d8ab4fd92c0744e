package issuer

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// KeyID returns the id of a public key as Kubernetes computes it: the SHA-256 of its
// PKIX form, in base64 for URLs (keyIDFromPublicKey in k8s.io/kubernetes/pkg/serviceaccount).
func KeyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode a public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// pemHeader of a PEM block (RFC 7468, section 2).
const pemHeader = "-----BEGIN "

// ParsePublicKeys returns the public keys of a PEM file: such as the API server takes
// for --service-account-key-file, RSA or ECDSA, PKIX or PKCS #1, or certificates. A
// private key is refused: it has no business where keys are published. So is a block
// that is not whole: its key would be missing from what is published.
func ParsePublicKeys(content []byte) ([]crypto.PublicKey, error) {
	blocks := bytes.Count(content, []byte(pemHeader))
	var keys []crypto.PublicKey
	number := 1
	for ; ; number++ {
		var block *pem.Block
		block, content = pem.Decode(content)
		if block == nil {
			break
		}
		if block.Type == "EC PARAMETERS" { // openssl ecparam writes it before a private key
			continue
		}
		key, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d, %q: %w", number, block.Type, err)
		}
		keys = append(keys, key)
	}
	switch {
	case number-1 < blocks:
		return nil, fmt.Errorf("there are %d PEM blocks, of which only %d can be read: is the file cut off?", blocks, number-1)
	case len(keys) == 0:
		return nil, errors.New("there is no PEM block with a public key")
	}
	return keys, nil
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errors.New("it is private; give the public key: openssl pkey -in FILE -pubout")
	}
	key, err := parseBlock(block)
	if err != nil {
		return nil, err
	}
	if _, err := algorithmOf(key); err != nil {
		return nil, err
	}
	return key, nil
}

func parseBlock(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	default:
		return nil, errors.New("it is no public key")
	}
}
