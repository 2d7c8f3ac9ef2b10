// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package jwt

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"

	"golang.org/x/crypto/chacha20poly1305"
)

// MaxSealedLen is the longest string that [Sealer.Open] looks at, in bytes, as
// long as the longest token. It has room for a plaintext of 12243 bytes.
const MaxSealedLen = MaxTokenLen

// A sealed string is base64url of: version (1 byte), key ID (4 bytes, big
// endian), nonce (24 bytes), ciphertext with tag.
const (
	sealVersion   = 1
	sealHeaderLen = 1 + 4
	sealPrefixLen = sealHeaderLen + chacha20poly1305.NonceSizeX
)

// A SealKey is a 256-bit key of the store. Printing or logging one shows its
// ID only; marshalling one shows all.
type SealKey struct {
	ID  uint32
	Key [chacha20poly1305.KeySize]byte
}

// Format implements [fmt.Formatter], so that no verb prints the key.
func (k SealKey) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "seal key %d", k.ID) }

// LogValue implements [slog.LogValuer].
func (k SealKey) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// A Sealer turns short-lived values into opaque strings that only holders of
// the keys can make or read. It is safe for concurrent use. Printing one shows
// its issuer only.
//
// Each string is bound to the issuer and to a purpose, so that a code does not
// pass as a cookie, nor at an instance for another issuer that shares the
// keys. Nothing binds it to a time or to a single use: that is for the
// plaintext and the store.
type Sealer struct {
	issuer string
	newest uint32 // the ID of the key that seals
	aeads  map[uint32]cipher.AEAD
}

// Format implements [fmt.Formatter], so that no verb prints a key.
func (s Sealer) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "sealer of %q", s.issuer) }

// NewSealer returns a sealer for an issuer. The first key seals, all keys
// open. No issuer, no key, two keys with the same ID and a key of zeros (which
// nobody has generated) are errors.
func NewSealer(issuer string, keys ...SealKey) (*Sealer, error) {
	if issuer == "" || len(keys) == 0 {
		return nil, errors.New("making sealer: no issuer or no key")
	}
	s := &Sealer{issuer: issuer, newest: keys[0].ID, aeads: make(map[uint32]cipher.AEAD, len(keys))}
	for _, key := range keys {
		if s.aeads[key.ID] != nil {
			return nil, fmt.Errorf("making sealer: %v twice", key)
		}
		if key.Key == (SealKey{}).Key {
			return nil, fmt.Errorf("making sealer: %v is all zeros", key)
		}
		aead, err := chacha20poly1305.NewX(key.Key[:])
		if err != nil {
			return nil, fmt.Errorf("making sealer: %v: %w", key, err)
		}
		s.aeads[key.ID] = aead
	}
	return s, nil
}

// Seal encrypts plaintext for a purpose. The result has characters of
// [A-Za-z0-9_-] only, 4 for each 3 bytes of plaintext and 60 more. Nobody can
// open one longer than [MaxSealedLen].
func (s *Sealer) Seal(purpose string, plaintext []byte) string {
	out := make([]byte, sealPrefixLen, sealPrefixLen+len(plaintext)+chacha20poly1305.Overhead)
	out[0] = sealVersion
	binary.BigEndian.PutUint32(out[1:], s.newest)
	// A nonce of 192 bits may be random, however many instances share the
	// key. Read never fails.
	nonce := out[sealHeaderLen:sealPrefixLen]
	rand.Read(nonce)
	out = s.aeads[s.newest].Seal(out, nonce, plaintext, s.associatedData(out[:sealHeaderLen], purpose))
	return base64.RawURLEncoding.EncodeToString(out)
}

// ErrUnknownKey says that a string looks sealed, under a key that the [Sealer]
// does not have. Anybody can make such a string.
var ErrUnknownKey = errors.New("unknown key")

// Open returns the plaintext of a string that [Sealer.Seal] made for the same
// purpose and issuer, under one of the keys. Errors are [ErrInvalid], and
// beside it [ErrUnknownKey].
func (s *Sealer) Open(purpose, sealed string) ([]byte, error) {
	if len(sealed) > MaxSealedLen {
		return nil, invalid("sealed value is too long")
	}
	data, err := decode64(sealed)
	if err != nil || len(data) < sealPrefixLen+chacha20poly1305.Overhead || data[0] != sealVersion {
		return nil, invalid("not a sealed value")
	}
	aead, ok := s.aeads[binary.BigEndian.Uint32(data[1:])]
	if !ok {
		return nil, fmt.Errorf("%w: sealed under an %w", ErrInvalid, ErrUnknownKey)
	}
	header, nonce := data[:sealHeaderLen], data[sealHeaderLen:sealPrefixLen]
	plaintext, err := aead.Open(nil, nonce, data[sealPrefixLen:], s.associatedData(header, purpose))
	if err != nil {
		return nil, invalid("sealed for something else, or not by us")
	}
	return plaintext, nil
}

// associatedData encodes what a sealed value is bound to. The lengths make the
// encoding unambiguous: no other issuer and purpose have the same one.
func (s *Sealer) associatedData(header []byte, purpose string) []byte {
	data := make([]byte, 0, len(header)+8+len(s.issuer)+8+len(purpose))
	data = append(data, header...)
	for _, part := range []string{s.issuer, purpose} {
		data = binary.BigEndian.AppendUint64(data, uint64(len(part)))
		data = append(data, part...)
	}
	return data
}
