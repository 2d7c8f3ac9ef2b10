// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
)

const (
	// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used with
	// these algorithms."
	minRSABits = 2048
	// A verification with a larger modulus costs whoever publishes the key
	// nothing and us milliseconds.
	maxRSABits = 8192
	// maxIDLen keeps the header far below [maxHeaderLen].
	maxIDLen = 256
)

// A PublicKey verifies. It pins one algorithm to one key.
//
// The zero value verifies nothing; keys come from [Signer.Public], [ParseJWKS]
// or [ParseClientKeys].
type PublicKey struct {
	// ID is the kid: 1 to 256 printable ASCII characters. Keys of clients may
	// have none.
	ID  string
	Alg string // RS256, ES256 or EdDSA; for keys of clients also PS256
	// Key is an *rsa.PublicKey, an *ecdsa.PublicKey on P-256 or an
	// ed25519.PublicKey.
	Key crypto.PublicKey
}

// Equal reports whether k and other are one key, under one id and for one
// algorithm.
func (k PublicKey) Equal(other PublicKey) bool {
	key, ok := k.Key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Alg == other.Alg && key.Equal(other.Key)
}

// GenerateKey makes a private key for alg: RSA with 2048 bits, ECDSA on P-256,
// or Ed25519.
func GenerateKey(alg string) (crypto.Signer, error) {
	switch alg {
	case RS256:
		return rsa.GenerateKey(rand.Reader, minRSABits)
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return nil, fmt.Errorf("generating key: unknown algorithm %q", alg)
}

// MarshalPrivateKey returns a key of [GenerateKey] or [ParsePrivateKey] as
// PKCS #8 DER. The result is a secret.
func MarshalPrivateKey(key crypto.Signer) ([]byte, error) {
	if _, err := signerAlgorithm(key); err != nil {
		return nil, fmt.Errorf("marshalling private key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("marshalling private key: %w", err)
	}
	return der, nil
}

// ParsePrivateKey reads a private key from PKCS #8 DER and checks that it fits
// alg.
func ParsePrivateKey(alg string, der []byte) (crypto.Signer, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("parsing private key: %w", err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("parsing private key: a %T cannot sign", parsed)
	}
	if err := checkSigner(alg, key); err != nil {
		return nil, fmt.Errorf("parsing private key: %w", err)
	}
	return key, nil
}

// checkSigner reports why a private key cannot be used with alg.
func checkSigner(alg string, key crypto.Signer) error {
	got, err := signerAlgorithm(key)
	if err != nil {
		return err
	}
	if got != alg {
		return fmt.Errorf("key is for %s, not for %q", got, alg)
	}
	return nil
}

func signerAlgorithm(key crypto.Signer) (string, error) {
	if key == nil {
		return "", errors.New("no key")
	}
	return algorithm(key.Public())
}

// check reports why a public key cannot be used.
func (k PublicKey) check() error {
	if err := checkID(k.ID); err != nil {
		return err
	}
	got, err := algorithm(k.Key)
	if err != nil {
		return err
	}
	if got != k.Alg {
		return fmt.Errorf("key is for %s, not for %q", got, k.Alg)
	}
	return nil
}

// algorithm returns the one algorithm that this package uses a public key
// with. Private keys and secrets have none.
func algorithm(key crypto.PublicKey) (string, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return RS256, checkRSA(key)
	case *ecdsa.PublicKey:
		if key == nil || key.Curve != elliptic.P256() {
			return "", errors.New("ECDSA key is not on P-256")
		}
		return ES256, nil
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return "", errors.New("Ed25519 key is not 32 bytes long")
		}
		return EdDSA, nil
	}
	return "", fmt.Errorf("a %T is not a public key of RSA, P-256 or Ed25519", key)
}

func checkRSA(key *rsa.PublicKey) error {
	if key == nil || key.N == nil {
		return errors.New("RSA key without modulus")
	}
	if bits := key.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return fmt.Errorf("RSA modulus of %d bits is not between %d and %d", bits, minRSABits, maxRSABits)
	}
	if key.N.Bit(0) == 0 || key.E < 3 || key.E&1 == 0 || key.E > math.MaxInt32 {
		return errors.New("RSA modulus or exponent is impossible")
	}
	return nil
}

// checkID keeps key identifiers to what survives JSON, logs and HTML unchanged.
func checkID(id string) error {
	if id == "" || len(id) > maxIDLen {
		return fmt.Errorf("key id is not 1 to %d bytes long", maxIDLen)
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return errors.New("key id has a character that is not printable ASCII")
		}
	}
	return nil
}
