// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	strictjson "github.com/go-jose/go-jose/v4/json"
)

// maxJWKSLen is the longest key set that [ParseJWKS] reads, in bytes.
const maxJWKSLen = 256 << 10

// coordinateLen is the length of a coordinate, and of r and s, on P-256.
const coordinateLen = 32

// A jwk is a public key of a key set (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
// The order of the members is the order in the document.
type jwk struct {
	Kty string `json:"kty"`
	Use string `json:"use,omitempty"`
	Alg string `json:"alg,omitempty"`
	Kid string `json:"kid"`
	Crv string `json:"crv,omitempty"`
	X   string `json:"x,omitempty"`
	Y   string `json:"y,omitempty"`
	N   string `json:"n,omitempty"`
	E   string `json:"e,omitempty"`
}

// A foreignJWK has also the members that make us ignore a key.
type foreignJWK struct {
	jwk
	KeyOps []string        `json:"key_ops"`
	D      json.RawMessage `json:"d"`
}

// JWKS renders a key set (RFC 7517 §5) as compact JSON: the members kty, use,
// alg, kid and the public ones of the key type, in the order of keys. Equal
// keys give equal bytes. Two keys with the same ID, a key that does not fit its
// algorithm, and a private key are errors.
func JWKS(keys []PublicKey) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: make([]jwk, 0, len(keys))}
	for _, key := range keys {
		// RFC 7517 §4.5: "different keys within the JWK Set SHOULD use
		// distinct "kid" values".
		if slices.ContainsFunc(set.Keys, func(k jwk) bool { return k.Kid == key.ID }) {
			return nil, fmt.Errorf("rendering key set: key id %q twice", key.ID)
		}
		k, err := key.jwk()
		if err != nil {
			return nil, fmt.Errorf("rendering key set: key %q: %w", key.ID, err)
		}
		set.Keys = append(set.Keys, k)
	}
	return json.Marshal(set)
}

func (k PublicKey) jwk() (jwk, error) {
	if err := k.check(); err != nil {
		return jwk{}, err
	}
	encode := base64.RawURLEncoding.EncodeToString
	out := jwk{Use: "sig", Alg: k.Alg, Kid: k.ID}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		out.Kty = "RSA"
		out.N = encode(key.N.Bytes())
		out.E = encode(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		// SEC 1 uncompressed form: 0x04, x, y.
		point, err := key.Bytes()
		if err != nil {
			return jwk{}, err
		}
		out.Kty, out.Crv = "EC", "P-256"
		out.X = encode(point[1 : 1+coordinateLen])
		out.Y = encode(point[1+coordinateLen:])
	case ed25519.PublicKey:
		out.Kty, out.Crv, out.X = "OKP", "Ed25519", encode(key)
	}
	return out, nil
}

// ParseJWKS reads the keys of a key set that can verify tokens: those with a
// kid, of a type and algorithm this package knows, and meant for signatures.
// RFC 7517 §5: "Implementations SHOULD ignore JWKs within a JWK Set that use
// "kty" (key type) values that are not understood by them, that are missing
// required members, or for which values are out of the supported ranges." A key
// that is published with its private part is ignored too. Where alg is absent,
// the key type decides it.
//
// A document over 256 KiB, one that is not a key set, and two usable keys with
// the same kid are errors. A set without usable keys is an empty slice.
func ParseJWKS(data []byte) ([]PublicKey, error) {
	if len(data) > maxJWKSLen {
		return nil, fmt.Errorf("parsing key set: %d bytes, more than %d", len(data), maxJWKSLen)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := strictjson.Unmarshal(data, &set); err != nil {
		return nil, errors.New("parsing key set: not a JSON object with unique members and an array of keys")
	}
	// RFC 7517 §5.1: the member "keys" is required, though it may be empty.
	if set.Keys == nil {
		return nil, errors.New("parsing key set: no keys member")
	}
	keys := []PublicKey{}
	seen := make(map[string]bool)
	for _, raw := range set.Keys {
		key, err := parseJWK(raw)
		if err != nil {
			continue
		}
		if seen[key.ID] {
			return nil, fmt.Errorf("parsing key set: key id %q twice", key.ID)
		}
		seen[key.ID] = true
		keys = append(keys, key)
	}
	return keys, nil
}

// parseJWK reads one key of a set. Its errors mean: ignore the key.
func parseJWK(data []byte) (PublicKey, error) {
	var k foreignJWK
	if err := strictjson.Unmarshal(data, &k); err != nil {
		return PublicKey{}, err
	}
	if k.Use != "" && k.Use != "sig" || k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify") {
		return PublicKey{}, errors.New("not for verifying")
	}
	if k.D != nil {
		return PublicKey{}, errors.New("private key")
	}
	key, err := k.publicKey()
	if err != nil {
		return PublicKey{}, err
	}
	alg, err := algorithm(key)
	if err != nil {
		return PublicKey{}, err
	}
	if k.Alg != "" && k.Alg != alg {
		return PublicKey{}, errors.New("for another algorithm")
	}
	return PublicKey{ID: k.Kid, Alg: alg, Key: key}, checkID(k.Kid)
}

func (k jwk) publicKey() (crypto.PublicKey, error) {
	switch {
	case k.Kty == "RSA":
		return parseRSA(k.N, k.E)
	case k.Kty == "EC" && k.Crv == "P-256":
		return parseP256(k.X, k.Y)
	case k.Kty == "OKP" && k.Crv == "Ed25519":
		x, err := decode64(k.X)
		return ed25519.PublicKey(x), err
	}
	return nil, errors.New("unknown key type")
}

func parseRSA(modulus, exponent string) (crypto.PublicKey, error) {
	n, err := decode64(modulus)
	if err != nil {
		return nil, err
	}
	e, err := decode64(exponent)
	if err != nil {
		return nil, err
	}
	// Four bytes are enough for every exponent that package rsa accepts.
	if e = bytes.TrimLeft(e, "\x00"); len(e) > 4 {
		return nil, errors.New("RSA exponent is too large")
	}
	return &rsa.PublicKey{
		N: new(big.Int).SetBytes(n),
		E: int(new(big.Int).SetBytes(e).Int64()),
	}, nil
}

func parseP256(x, y string) (crypto.PublicKey, error) {
	point := []byte{4} // SEC 1 uncompressed form
	for _, coordinate := range []string{x, y} {
		b, err := decode64(coordinate)
		if err != nil {
			return nil, err
		}
		// RFC 7518 §6.2.1.2: "The length of this octet string MUST be the
		// full size of a coordinate for the curve".
		if len(b) != coordinateLen {
			return nil, errors.New("coordinate of another length")
		}
		point = append(point, b...)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}
