// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

// Package legacy reads the state that versions of tsidp before the store kept
// in JSON files, so that a new store can import it: [Read] returns the signing
// key and the clients of a directory, or an error that says which file is
// broken, where, and what to do about it.
//
// It parses and judges. It never writes, renames or locks anything, and there
// is no partial result: a state is complete or there is an error.
//
// # Files
//
//   - oidc-key.json holds the signing key, as {"kid": N, "key": PEM} or, written
//     by tailscale.com/cmd/tsidp, {"ID": N, "Key": base64url of PEM}.
//   - oidc-funnel-clients.json holds the clients, by their ids.
//   - oauth-clients.json held them for tailscale.com/cmd/tsidp with
//     -allow-insecure-registration=false. It is read if the former is absent.
//   - deprecated-oidc-funnel-clients.json is what that program renamed the
//     former to. It is never read.
//
// # Judgement
//
// A client that could log in before can log in after the import, with what it
// has: that is why a redirect URI which nobody may register any more is kept
// and marked. The exceptions are URIs to which no answer may be sent at all,
// and ids that would pass as something else. What was changed, left out or
// deserves a look is in the notes of the client.
package legacy

import (
	"cmp"
	"crypto/rsa"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"
)

// Names of the files in a state directory.
const (
	keyFile        = "oidc-key.json"
	clientFile     = "oidc-funnel-clients.json"
	strictFile     = "oauth-clients.json"
	deprecatedFile = "deprecated-oidc-funnel-clients.json"
)

// A State is what a directory of an earlier version holds. It holds secrets;
// printing, logging or marshalling it shows none of them.
type State struct {
	// Key is nil if there is no key file.
	Key *Key
	// Clients are in the order of their ids, byte by byte. Ids that differ in
	// letter case only are those of different clients.
	Clients []Client
	// Files are the paths of the files that were read.
	Files []string
	// Notes are sentences about files, for an administrator. Those about
	// clients are with the clients.
	Notes []string
}

// A Key is the key that signed ID tokens, with RS256.
type Key struct {
	// ID is the kid of the key: a number from 0 to 2⁶⁴-1 in decimal digits.
	ID string
	// Private has a modulus of 2048 to 8192 bits.
	Private *rsa.PrivateKey
}

// Format implements [fmt.Formatter], so that no verb prints the key.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "RSA key %q", k.ID) }

// LogValue implements [slog.LogValuer].
func (k Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// MarshalText implements [encoding.TextMarshaler]. It shows the id only.
func (k Key) MarshalText() ([]byte, error) { return fmt.Append(nil, k), nil }

// A Secret is a client secret in plaintext, or none. Its zero value is none.
//
// Printing one shows no fingerprint either: unlike the secrets that the store
// keeps, it may be a short one that somebody made up, which a fingerprint
// would help to guess.
type Secret struct {
	text *string // a pointer, which package fmt does not follow where it does not find Format
}

func newSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{&text}
}

// Reveal returns the plaintext, or an empty string if there is no secret. The
// caller must keep no more of it than its hash.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsZero reports whether there is no secret.
func (s Secret) IsZero() bool { return s.text == nil }

// Equal reports whether both secrets are the same, in variable time.
func (s Secret) Equal(t Secret) bool { return s.Reveal() == t.Reveal() }

// Format implements [fmt.Formatter], so that no verb prints the secret.
func (s Secret) Format(f fmt.State, _ rune) {
	if s.IsZero() {
		fmt.Fprint(f, "(none)")
		return
	}
	fmt.Fprint(f, "(secret)")
}

// LogValue implements [slog.LogValuer].
func (s Secret) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// MarshalText implements [encoding.TextMarshaler]. It says whether there is a
// secret.
func (s Secret) MarshalText() ([]byte, error) { return fmt.Append(nil, s), nil }

// A Client is one record of the client file, as it is to be imported. Its texts
// are free of control characters and of those that hide or reorder text,
// except for ID and RedirectURIs, which are kept byte by byte.
type Client struct {
	// ID is the client_id: 1 to 2048 bytes, of any kind.
	ID   string
	Name string
	// Secret is what the client authenticates with, in the Authorization
	// header or in the body. It may be shorter than new ones, and absent.
	Secret Secret
	// RedirectURIs are those that stay valid, without duplicates.
	RedirectURIs []string
	// LegacyRedirectURIs are those of RedirectURIs that the rules for new
	// clients of this origin refuse.
	LegacyRedirectURIs []string
	// IgnoreFragment is set if one of RedirectURIs has a fragment.
	IgnoreFragment bool
	// TokenEndpointAuthMethod is client_secret_basic or client_secret_post.
	// Earlier versions demanded the secret of every client and took it either
	// way, whatever the client had registered, so the importer must not hold
	// the client to one of them.
	TokenEndpointAuthMethod string
	// GrantTypes are authorization_code and refresh_token, which every client
	// was given, and token exchange if the client registered it. (With
	// -enable-sts every client could exchange tokens, registered or not.)
	GrantTypes []string
	// ResponseTypes are always code.
	ResponseTypes []string
	// Scope is what the client registered. Earlier versions made no use of it:
	// a request without scopes was one for openid.
	Scope     string
	ClientURI string // empty, or an http or https URL
	LogoURI   string // empty, or an http or https URL
	Contacts  []string
	// ApplicationType is web or native.
	ApplicationType string
	// DynamicallyRegistered is set if the client registered itself, and not
	// an administrator the client.
	DynamicallyRegistered bool
	// CreatedAt is zero if the file does not say. It is in UTC.
	CreatedAt time.Time
	// Disabled is set for a client that must not be used until an
	// administrator has looked at it. Notes says why.
	Disabled bool
	// Notes are sentences about this record, for an administrator.
	Notes []string
}

// Read reads the state in the directory dir, following symbolic links. A
// directory without state files gives an empty State. Read never opens a file
// for writing.
//
// Errors name the file, the place in it, and what to do, on one line, and hold
// no secret. They wrap [fs.ErrNotExist] only if dir itself does not exist.
//
// The files may change while they are read: an incomplete file is an error
// like any broken one, and reading it again may succeed.
func Read(dir string) (*State, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("reading state of an earlier version: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("reading state of an earlier version: %s is not a directory", dir)
	}
	return read(directory{files: os.DirFS(dir), path: dir})
}

func read(d directory) (*State, error) {
	s := new(State)
	key, found, err := readFile(d, keyFile, keyFormat())
	if err != nil {
		return nil, err
	}
	if found {
		s.Key = &key.key
		s.Files = append(s.Files, d.join(keyFile))
		s.Notes = append(s.Notes, key.notes...)
	}
	if err := s.readClients(d); err != nil {
		return nil, err
	}
	return s, nil
}

// readClients reads the first file of clients that exists.
func (s *State) readClients(d directory) error {
	for _, name := range []string{clientFile, strictFile} {
		clients, found, err := readFile(d, name, clientFormat())
		if err != nil {
			return err
		}
		if found {
			slices.SortFunc(clients, func(a, b Client) int { return cmp.Compare(a.ID, b.ID) })
			s.Clients = clients
			s.Files = append(s.Files, d.join(name))
			break
		}
	}
	s.noteUnread(d)
	return nil
}

// noteUnread notes which files of clients exist and were not read.
//
// The standalone tsidp reads clientFile only, so that a strictFile beside it is
// a remainder of tailscale.com/cmd/tsidp, and reading both would bring clients
// back to life that have long been without access.
func (s *State) noteUnread(d directory) {
	strict := d.join(strictFile)
	if d.exists(strictFile) && !slices.Contains(s.Files, strict) {
		s.Notes = append(s.Notes, fmt.Sprintf("%s is not imported, since %s is what tsidp has used. If the last program on this "+
			"directory was tailscale.com/cmd/tsidp with -allow-insecure-registration=false, it is the other way round: move %s away.",
			strict, d.join(clientFile), clientFile))
	}
	if d.exists(deprecatedFile) {
		s.Notes = append(s.Notes, fmt.Sprintf("%s is not imported: it was put aside when tailscale.com/cmd/tsidp began to use %s.",
			d.join(deprecatedFile), strictFile))
	}
}

// exists reports whether there is something of that name.
func (d directory) exists(name string) bool {
	_, err := fs.Lstat(d.files, name)
	return err == nil
}
