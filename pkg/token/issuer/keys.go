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

// KeyID returns the ID that Kubernetes gives to a public key: the SHA-256 of its PKIX form in
// unpadded base64url (keyIDFromPublicKey in k8s.io/kubernetes/pkg/serviceaccount). It returns
// an error if x509 does not support the type of the key.
func KeyID(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// pemHeader is the start of a PEM block (RFC 7468, section 2).
const pemHeader = "-----BEGIN "

// ParsePublicKeys returns the public keys in a PEM file: RSA or ECDSA keys in PKIX or PKCS #1,
// or certificates. The flag --service-account-key-file of API servers accepts the same files.
// It returns an error if the file contains a private key, which must never be published. It
// also returns an error if a block is truncated, because its key would then not be published.
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
		if block.Type == "EC PARAMETERS" { // openssl ecparam writes this block before a private key
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
		return nil, fmt.Errorf("found %d PEM blocks but can read only %d; the file may be truncated", blocks, number-1)
	case len(keys) == 0:
		return nil, errors.New("no PEM block with a public key")
	}
	return keys, nil
}

// publicKey returns the public key in a PEM block. It returns an error if the block contains
// a private key, or a key with which API servers do not sign.
func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	if strings.HasSuffix(block.Type, "PRIVATE KEY") {
		return nil, errors.New("private key; use the public key instead: openssl pkey -in FILE -pubout")
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

// parseBlock parses the public key in a PEM block.
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
		return nil, errors.New("not a public key")
	}
}
