// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A Signer mints compact JWS with one key. It is safe for concurrent use if
// its key is, as those of the standard library are. Printing one shows its
// algorithm and ID, never the key.
type Signer struct {
	public PublicKey
	// signDigest is the key's method Sign. A func, because package fmt prints
	// what an interface holds, also where it does not find Format.
	signDigest func(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error)
	// Encoded headers, each with the dot that follows, for the types that
	// are minted all the time.
	plain, access string
}

// NewSigner returns a signer that puts id into the header kid. It fails if id
// is not 1 to 256 printable ASCII characters or key does not fit alg.
func NewSigner(id, alg string, key crypto.Signer) (*Signer, error) {
	if err := checkSigner(alg, key); err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	if err := checkID(id); err != nil {
		return nil, fmt.Errorf("making signer: %w", err)
	}
	s := &Signer{public: PublicKey{ID: id, Alg: alg, Key: key.Public()}, signDigest: key.Sign}
	s.plain = s.encodeHeader(TypeJWT)
	s.access = s.encodeHeader(TypeAccessToken)
	return s, nil
}

// ID returns the identifier of the key.
func (s *Signer) ID() string { return s.public.ID }

// Alg returns the algorithm of the key.
func (s *Signer) Alg() string { return s.public.Alg }

// Public returns the key that verifies what s signs.
func (s *Signer) Public() PublicKey { return s.public }

// Format implements [fmt.Formatter], so that no verb prints the key.
func (s Signer) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "%s key %q", s.public.Alg, s.public.ID)
}

// Sign returns claims as a compact JWS with the header {alg, kid, typ}. Claims
// are marshalled with encoding/json, unless they are a json.RawMessage or a
// []byte: the caller vouches that such a value is JSON. Either way they must
// be an object (RFC 7519 §4).
//
// Sign does not bound the length. A token over [MaxTokenLen] will not verify.
func (s *Signer) Sign(typ string, claims any) (string, error) {
	header, err := s.header(typ)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	payload, err := marshalClaims(claims)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	// 342 characters are the signature of an RSA key with 2048 bits.
	token := make([]byte, 0, len(header)+base64.RawURLEncoding.EncodedLen(len(payload))+1+342)
	token = append(token, header...)
	token = base64.RawURLEncoding.AppendEncode(token, payload)
	signature, err := s.sign(token)
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	token = append(token, '.')
	return string(base64.RawURLEncoding.AppendEncode(token, signature)), nil
}

func (s *Signer) header(typ string) (string, error) {
	switch typ {
	case TypeJWT:
		return s.plain, nil
	case TypeAccessToken:
		return s.access, nil
	}
	if !isMediaType(typ) {
		return "", errors.New("typ is not a media type")
	}
	return s.encodeHeader(typ), nil
}

// encodeHeader returns the encoded header and the dot that follows it.
func (s *Signer) encodeHeader(typ string) string {
	// Three strings cannot fail to marshal.
	header, _ := json.Marshal(struct {
		Alg string `json:"alg"`
		Kid string `json:"kid"`
		Typ string `json:"typ"`
	}{s.public.Alg, s.public.ID, typ})
	return base64.RawURLEncoding.EncodeToString(header) + "."
}

func marshalClaims(claims any) (payload []byte, err error) {
	switch claims := claims.(type) {
	case []byte:
		payload = claims
	case json.RawMessage:
		payload = claims
	default:
		if payload, err = json.Marshal(claims); err != nil {
			return nil, fmt.Errorf("marshalling claims: %w", err)
		}
	}
	if !bytes.HasPrefix(payload, []byte("{")) {
		return nil, errors.New("claims are not a JSON object")
	}
	return payload, nil
}

// sign returns the signature of input as JWS wants it.
func (s *Signer) sign(input []byte) ([]byte, error) {
	if s.public.Alg == EdDSA {
		return s.signDigest(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	signature, err := s.signDigest(rand.Reader, digest[:], crypto.SHA256)
	if err != nil || s.public.Alg == RS256 {
		return signature, err
	}
	return concatenated(signature)
}

// concatenated turns an ECDSA signature from ASN.1 into the form of RFC 7518
// §3.4: r and s as big-endian integers of 32 octets each. "The octet sequence
// representations MUST NOT be shortened to omit any leading zero octets".
func concatenated(der []byte) ([]byte, error) {
	var sequence cryptobyte.String
	var r, s []byte
	input := cryptobyte.String(der)
	if !input.ReadASN1(&sequence, asn1.SEQUENCE) || !input.Empty() ||
		!sequence.ReadASN1Integer(&r) || !sequence.ReadASN1Integer(&s) || !sequence.Empty() ||
		len(r) > coordinateLen || len(s) > coordinateLen {
		return nil, errors.New("key made no P-256 signature")
	}
	out := make([]byte, 2*coordinateLen)
	copy(out[coordinateLen-len(r):], r)
	copy(out[2*coordinateLen-len(s):], s)
	return out, nil
}

// HalfHash returns the at_hash of an access token in an ID token signed with
// alg: "the base64url encoding of the left-most half of the hash of the octets
// of the ASCII representation" (OpenID Connect Core §3.1.3.6), where the hash
// is the one inside alg: SHA-256, and SHA-512 for EdDSA. For an unknown
// algorithm it returns "".
func HalfHash(alg, value string) string {
	switch alg {
	case RS256, ES256:
		sum := sha256.Sum256([]byte(value))
		return base64.RawURLEncoding.EncodeToString(sum[:sha256.Size/2])
	case EdDSA:
		sum := sha512.Sum512([]byte(value))
		return base64.RawURLEncoding.EncodeToString(sum[:sha512.Size/2])
	}
	return ""
}
