// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	strictjson "github.com/go-jose/go-jose/v4/json"
)

// AssertionAlgs are the algorithms of client assertions.
var AssertionAlgs = []string{RS256, PS256, ES256, EdDSA}

// maxClientKeys is how many keys a client may have. Reading one costs a
// little, and whoever knows the client can have us read them.
const maxClientKeys = 100

// VerifyAssertion is [Verify] for the assertion by which a client
// authenticates (RFC 7523 §3), signed with a key that signs nothing of ours.
//
// The header typ may be absent, "JWT", since RFC 7523 names no type, or
// [TypeClientAuthentication]. The kid may be absent too: clients with one key
// often give it no name. The function keys gets it as "", and alg as the
// sender wrote it, of [AssertionAlgs]; see [FindKey]. It is called at most
// once.
func VerifyAssertion(token string, keys func(kid, alg string) (PublicKey, bool)) (payload []byte, err error) {
	header, err := split(token)
	if err != nil {
		return nil, err
	}
	if err := checkHeader(header); err != nil {
		return nil, err
	}
	if value, present := header["typ"]; present {
		typ, _ := value.(string)
		if !sameMediaType(typ, TypeJWT) && !sameMediaType(typ, TypeClientAuthentication) {
			return nil, invalid("typ is not the expected one")
		}
	}
	alg, _ := header["alg"].(string)
	if !slices.Contains(AssertionAlgs, alg) {
		return nil, invalid("alg is none of RS256, PS256, ES256, EdDSA")
	}
	var kid string
	if value, present := header["kid"]; present {
		if kid, _ = value.(string); checkID(kid) != nil {
			return nil, invalid("kid is malformed")
		}
	}
	key, ok := keys(kid, alg)
	switch {
	case !ok && kid == "":
		return nil, invalid("no kid, and not exactly one key for this alg")
	case !ok:
		return nil, invalid("unknown kid")
	case key.checkClientKey() != nil:
		return nil, invalid("key cannot verify")
	}
	return verifySignature(token, header, key)
}

// FindKey finds the key for a token with the given kid and alg: the one with
// that ID, or without a kid the only one for alg.
func FindKey(keys []PublicKey, kid, alg string) (PublicKey, bool) {
	var found []PublicKey
	for _, key := range keys {
		if kid != "" && key.ID == kid || kid == "" && key.Alg == alg {
			found = append(found, key)
		}
	}
	if len(found) != 1 {
		return PublicKey{}, false
	}
	return found[0], true
}

// ClaimedSubject returns the sub of a token that nobody has verified. It is
// whatever its sender likes: good for finding out whose keys to verify with,
// and for nothing else.
func ClaimedSubject(token string) (string, error) {
	if _, err := split(token); err != nil {
		return "", err
	}
	payload, err := decode64(strings.Split(token, ".")[1])
	if err != nil {
		return "", invalid("payload is not base64url")
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if err := Unmarshal(payload, &claims); err != nil {
		return "", err
	}
	return claims.Subject, nil
}

// checkClientKey is check for a key of a client, which needs no ID and may be
// pinned to PS256.
func (k PublicKey) checkClientKey() error {
	alg, err := algorithm(k.Key)
	if err != nil {
		return err
	}
	if alg != k.Alg && (alg != RS256 || k.Alg != PS256) {
		return fmt.Errorf("key is for %s, not for %q", alg, k.Alg)
	}
	return nil
}

// ParseClientKeys reads the key set by which a client authenticates. Other
// than [ParseJWKS] it tells what is wrong, for the developer of the client;
// its texts hold nothing of the document but the place.
//
// An RSA key that names no alg is for rsaAlg, RS256 or PS256; others have only
// one. Keys for another purpose, and of types or algorithms that are not
// known, are passed over. Faults are about the keys that are meant for
// signatures and cannot be used: too short, malformed.
//
// Errors: not a key set, more than 100 keys, one that is private or symmetric,
// whatever it is for (it is compromised, and so may be the others), no key
// that can be used, and two of them with one kid.
func ParseClientKeys(data []byte, rsaAlg string) (keys []PublicKey, faults []error, err error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if strictjson.Unmarshal(data, &set) != nil || set.Keys == nil {
		return nil, nil, errors.New("not a JSON object with unique members and an array of keys")
	}
	if len(set.Keys) > maxClientKeys {
		return nil, nil, fmt.Errorf("more than %d keys", maxClientKeys)
	}
	for i, raw := range set.Keys {
		private, err := isPrivate(raw)
		if err != nil {
			return nil, nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		if private {
			return nil, nil, fmt.Errorf("keys[%d] is a private or symmetric key: make a new one, and publish its public part alone", i)
		}
		key, known, err := parseClientKey(raw, rsaAlg)
		switch {
		case !known:
		case err != nil:
			faults = append(faults, fmt.Errorf("keys[%d]: %w", i, err))
		case key.ID != "" && slices.ContainsFunc(keys, func(k PublicKey) bool { return k.ID == key.ID }):
			return nil, nil, fmt.Errorf("keys[%d] has the kid of an earlier one", i)
		default:
			keys = append(keys, key)
		}
	}
	switch {
	case len(keys) > 0:
		return keys, faults, nil
	case len(faults) > 0:
		return nil, nil, faults[0]
	}
	return nil, nil, errors.New("no key for signatures of RS256, PS256, ES256 or EdDSA")
}

// isPrivate reports whether a key has a member of RFC 7518 §6.2.2, §6.3.2 and
// §6.4.1 that nobody else may know, or is symmetric.
func isPrivate(data []byte) (bool, error) {
	var members map[string]json.RawMessage
	if err := strictjson.Unmarshal(data, &members); err != nil || members == nil {
		return false, errors.New("not a JSON object with unique members")
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, ok := members[name]; ok {
			return true, nil
		}
	}
	return string(members["kty"]) == `"oct"`, nil
}

// parseClientKey reads one key of a set. known is whether it is meant for
// signatures, of a type and algorithm that we know; err is why it cannot be
// used all the same.
func parseClientKey(data []byte, rsaAlg string) (key PublicKey, known bool, err error) {
	var k foreignJWK
	if err := strictjson.Unmarshal(data, &k); err != nil {
		return PublicKey{}, true, errors.New("a member is of the wrong type")
	}
	if k.Use != "" && k.Use != "sig" || k.KeyOps != nil && !slices.Contains(k.KeyOps, "verify") {
		return PublicKey{}, false, nil
	}
	if k.Alg != "" && !slices.Contains(AssertionAlgs, k.Alg) {
		return PublicKey{}, false, nil
	}
	switch {
	case k.Kty == "RSA", k.Kty == "EC" && k.Crv == "P-256", k.Kty == "OKP" && k.Crv == "Ed25519":
	default:
		return PublicKey{}, false, nil
	}
	public, err := k.publicKey()
	if err != nil {
		// Package base64 says where, which helps nobody.
		return PublicKey{}, true, errors.New("its numbers are malformed, or not on the curve")
	}
	key = PublicKey{ID: k.Kid, Alg: k.Alg, Key: public}
	if key.Alg == "" {
		if key.Alg, err = algorithm(public); err != nil {
			return PublicKey{}, true, err
		}
		if _, isRSA := public.(*rsa.PublicKey); isRSA {
			key.Alg = rsaAlg
		}
	}
	if err := key.checkClientKey(); err != nil {
		return PublicKey{}, true, err
	}
	if key.ID != "" {
		return key, true, checkID(key.ID)
	}
	return key, true, nil
}
