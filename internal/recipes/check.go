// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package recipes

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/tailscale/tsidp/internal/oauth"
)

// The checks of fields. What passes them needs no quoting in any of the
// languages that settings are written in.

const maxValue = 2048 // bytes

// letters: what else an address may have can be written as %XX, and a name in
// other scripts as xn--….
const (
	letters     = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	nameLetters = letters + "._-"
	addrLetters = letters + "._~:/%[]-"
)

func only(s, allowed string) bool { return strings.Trim(s, allowed) == "" }

// webAddress checks the address of an application, and takes a slash at its end away.
func webAddress(s string) (string, error) {
	s = strings.TrimSuffix(s, "/")
	u, err := parseAddress(s)
	if err != nil {
		return "", err
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		return "", fmt.Errorf("%q has no https:// or http:// in front", s)
	}
	return s, nil
}

// httpsAddress is webAddress for what is never served in clear.
func httpsAddress(s string) (string, error) {
	s, err := webAddress(s)
	if err == nil && !strings.HasPrefix(s, "https://") {
		return "", fmt.Errorf("%q must begin with https://", s)
	}
	return s, err
}

func parseAddress(s string) (*url.URL, error) {
	if len(s) > maxValue {
		return nil, fmt.Errorf("is longer than %d bytes", maxValue)
	}
	if strings.ContainsAny(s, "?#@") {
		return nil, fmt.Errorf("%q must end before ? and #, and hold no user name", s)
	}
	if !only(s, addrLetters) {
		return nil, fmt.Errorf("%q has characters that no address has: write blanks and such as %%20, and other scripts as xn--…", s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || oauth.CheckRedirectURI(s, oauth.AdministratorRedirects) != nil {
		return nil, fmt.Errorf("%q is no address such as https://app.example.com", s)
	}
	return u, nil
}

// origins checks a list of addresses without a path, and separates them by
// one blank.
func origins(s string) (string, error) {
	list := strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(" ,\t\r\n", c) })
	for i, s := range list {
		s, err := httpsAddress(s)
		if err != nil {
			return "", err
		}
		if u, _ := url.Parse(s); u.Path != "" {
			return "", fmt.Errorf("%q must end after the host and port", s)
		}
		list[i] = s
	}
	if len(list) == 0 {
		return "", errors.New("at least one address is needed")
	}
	return strings.Join(list, " "), nil
}

// name checks the name of something inside the application, which becomes
// part of an address or a command.
func name(s string) (string, error) {
	if len(s) == 0 || len(s) > 64 || !only(s, nameLetters) || strings.Trim(s[:1], "._-") == "" {
		return "", fmt.Errorf("%.64q: want at most 64 letters, digits and . _ -, the first a letter or digit", s)
	}
	return s, nil
}

// Fields that many recipes have.

func addressField(label, example string) Field {
	return Field{Name: "url", Label: label, Hint: "as it stands in the browser's address bar", Example: example, Required: true, check: webAddress}
}

func nameField(field, label, hint, def string) Field {
	return Field{Name: field, Label: label, Hint: hint, Example: def, Default: def, Required: true, check: name}
}

// title checks a text for people.
func title(s string) (string, error) {
	if len(s) > 100 || strings.ContainsFunc(s, func(c rune) bool { return !unicode.IsPrint(c) }) {
		return "", errors.New("want at most 100 bytes, without control characters")
	}
	return s, nil
}

// redirectURIs checks a list of redirect URIs, and separates them by one blank.
func redirectURIs(s string) (string, error) {
	list := strings.Fields(s)
	for _, uri := range list {
		if err := oauth.CheckRedirectURI(uri, oauth.AdministratorRedirects); err != nil {
			return "", fmt.Errorf("%q: %w", uri, err)
		}
	}
	return strings.Join(list, " "), nil
}

// noEmail is a cause of many faults.
const noEmail = "The login name of this person is no e-mail address, such as alice@github: see “People without an e-mail address” in docs/apps."
