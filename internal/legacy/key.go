// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package legacy

import (
	"bytes"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used with these
// algorithms." Larger ones than the maximum cannot sign here either.
const (
	minKeyBits = 2048
	maxKeyBits = 8192
	maxKeyDER  = 16 << 10 // bytes; one of maxKeyBits has a third of it
)

type parsedKey struct {
	key   Key
	notes []string
}

func keyFormat() format[parsedKey] {
	return format[parsedKey]{
		limit:    1 << 20,
		parse:    parseKey,
		describe: func(p parsedKey) string { return "key " + p.key.ID },
		without:  "with a new signing key, by which nothing that was signed so far verifies",
	}
}

// parseKey parses the key file. Its two writers named the members differently,
// and read them in any letter case.
func parseKey(data []byte) (p parsedKey, err error) {
	root, err := parseObject(data)
	if err != nil {
		return parsedKey{}, err
	}
	var id, key *member
	for _, m := range root.members {
		target := &key
		switch {
		case strings.EqualFold(m.name, "kid"), strings.EqualFold(m.name, "ID"):
			target = &id
		case !strings.EqualFold(m.name, "key"):
			p.notes = append(p.notes, fmt.Sprintf("The key file has the unknown member %s, which is not imported.", quote(m.name)))
			continue
		}
		if *target != nil {
			return parsedKey{}, flawAt(m.offset, "%s and %s say the same; remove one of the two", quote((*target).name), quote(m.name))
		}
		*target = &m
	}
	if id == nil || key == nil {
		return parsedKey{}, flawAt(-1, `the file lacks "kid" or "key"`)
	}
	if p.key.ID, err = parseKeyID(id.value); err != nil {
		return parsedKey{}, err
	}
	if p.key.Private, err = parsePrivateKey(key.value); err != nil {
		return parsedKey{}, err
	}
	return p, nil
}

// parseKeyID returns the decimal digits of a uint64. As a floating-point
// number most of them would be another one.
func parseKeyID(v value) (string, error) {
	number, ok := v.token.(json.Number)
	if !ok {
		return "", flawAt(v.offset, "the id of the key is %s, want a number", v.kind())
	}
	id, err := strconv.ParseUint(number.String(), 10, 64)
	if err != nil {
		return "", flawAt(v.offset, "the id of the key is not a whole number from 0 to 18446744073709551615")
	}
	return strconv.FormatUint(id, 10), nil
}

func parsePrivateKey(v value) (*rsa.PrivateKey, error) {
	text, ok := v.token.(string)
	if !ok {
		return nil, flawAt(v.offset, "the key is %s, want a string", v.kind())
	}
	private, err := decodePrivateKey([]byte(text))
	if err != nil {
		return nil, flawAt(v.offset, "the key %v", err)
	}
	return private, nil
}

// decodePrivateKey decodes PEM, or base64url of PEM. Its errors are predicates,
// and quote nothing: not even those of crypto/x509 are passed on.
func decodePrivateKey(text []byte) (*rsa.PrivateKey, error) {
	if !bytes.Contains(text, []byte("-----BEGIN")) {
		decoded, err := base64.URLEncoding.AppendDecode(nil, text)
		if err != nil {
			return nil, errors.New("is neither PEM nor base64url of PEM")
		}
		text = decoded
	}
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("holds no complete PEM block")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("goes on behind the end of its PEM block")
	case block.Type != "RSA PRIVATE KEY":
		return nil, fmt.Errorf("is PEM of the type %s, want RSA PRIVATE KEY (PKCS#1)", quote(block.Type))
	case block.Headers["DEK-Info"] != "":
		return nil, errors.New("is encrypted with a passphrase; decrypt it")
	case len(block.Bytes) > maxKeyDER:
		return nil, fmt.Errorf("is too large, want at most %d bits", maxKeyBits)
	}
	private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is damaged: it is no valid RSA private key in PKCS#1 form")
	}
	if bits := private.N.BitLen(); bits < minKeyBits || bits > maxKeyBits {
		return nil, fmt.Errorf("has %d bits, want %d to %d", bits, minKeyBits, maxKeyBits)
	}
	return private, nil
}
