// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"errors"
	"fmt"
	"strings"
)

// A RedirectPolicy says which URIs a client may register.
type RedirectPolicy int

const (
	// AdministratorRedirects is for clients that an administrator makes: https and http to any host, and any scheme that is
	// not dangerous by itself. [InsecureRedirect] tells which of them deserve a warning.
	AdministratorRedirects RedirectPolicy = iota

	// SelfRegisteredRedirects is for clients that nobody looked at: registered dynamically, or described by a client id
	// metadata document. They may use https, http on loopback, schemes with a dot in them, and those of known editors.
	SelfRegisteredRedirects
)

// CheckRedirectURI says why uri cannot be registered under policy, in a sentence for the person who typed it, or returns nil.
// A URI that passes is one that [MatchRedirectURI] accepts when it is asked for.
//
// Nobody may register a fragment, user information, a wildcard in the host, an invalid host, port or percent escape, blanks,
// control characters, backslashes, letters outside ASCII, or more than 2048 bytes.
func CheckRedirectURI(uri string, policy RedirectPolicy) error {
	err := checkText(uri)
	if err == nil {
		err = checkRedirect(uri, policy)
	}
	if err != nil {
		return fmt.Errorf("the redirect URI %w", err)
	}
	return nil
}

// checkRedirect is CheckRedirectURI for text that passed checkText. Its errors are predicates.
func checkRedirect(s string, policy RedirectPolicy) error {
	p, ok := split(s)
	scheme := strings.ToLower(p.scheme)
	switch {
	case !ok || p.slashes == "" && p.path != "" && isDigit(p.path[0]):
		// localhost:8080/cb and app.example:8443/cb are, to the letter, a scheme and a path.
		return errors.New("has no scheme: write https:// (or http:// for localhost) in front of it")
	case blockedScheme(scheme):
		return fmt.Errorf("uses the scheme %q, to which no code may be sent: use https", scheme)
	case p.fragment != "":
		return errors.New(`has a fragment, which OAuth forbids: remove everything from "#" on; if the application sends the ` +
			"fragment all the same, set ignore_fragment for it")
	case p.userinfo != "":
		return errors.New(`has a user name in front of the host: remove everything between "//" and "@"`)
	case strings.Contains(p.host, "*"):
		return errors.New("has a wildcard in its host: redirect URIs are compared letter by letter, so register each one in full")
	case p.isWeb() && p.host == "":
		return fmt.Errorf("names no host: write it as %s://host/path", scheme)
	case p.isWeb() && !validHost(p.host):
		return fmt.Errorf("has the host %q, which is neither a name nor an address", p.host)
	case !validPort(p.port):
		return fmt.Errorf("has %q behind its host, where only a colon and a port from 0 to 65535 can stand", p.port)
	case len(s) == len(scheme+":"):
		return fmt.Errorf("has nothing behind its scheme: write it as %s:/path", scheme)
	case policy == AdministratorRedirects:
		return nil
	}
	return checkSelfRegistered(scheme, strings.ToLower(p.host))
}

// checkSelfRegistered says what clients that registered themselves may not use. Both arguments are in lower case.
func checkSelfRegistered(scheme, host string) error {
	switch {
	case scheme == "https":
		return nil
	case scheme == "http":
		if loopbackHost(host) {
			return nil
		}
		return errors.New("uses http to a host that is not 127.0.0.1, [::1] or localhost: use https, or let an administrator " +
			"register the application")
	case strings.Contains(scheme, "."):
		// RFC 8252 §8.4: "any private-use URI scheme that doesn't contain a period character (".") SHOULD be rejected."
		return nil
	case editorScheme(scheme):
		return nil
	}
	return fmt.Errorf("uses the scheme %q: applications that register themselves may use https, http on loopback, and schemes "+
		"made from a domain name such as com.example.app; let an administrator register this one", scheme)
}

// InsecureRedirect reports whether a response to uri travels in clear text over a network: http to a host that is not one of
// 127.0.0.1, [::1] and localhost. An http URI without a host, or with user information, in which browsers and servers find
// different hosts, counts as insecure.
func InsecureRedirect(uri string) bool {
	p, ok := split(uri)
	if !ok || !strings.EqualFold(p.scheme, "http") {
		return false
	}
	return p.userinfo != "" || !loopbackHost(strings.ToLower(p.host))
}

// editorScheme reports whether scheme, in lower case, is that of an editor which receives the codes of its MCP connections by
// it. These have no dot, but the operating system gives them to that editor.
func editorScheme(scheme string) bool {
	switch scheme {
	case "cursor", "vscode", "vscode-insiders", "vscodium", "windsurf", "zed":
		return true
	}
	return false
}

// blockedScheme reports whether scheme, in lower case, is one that nobody may register and nothing is ever sent to.
func blockedScheme(scheme string) bool {
	switch scheme {
	case "javascript", "vbscript", "livescript", "mocha", "data", "jar", "mhtml", "ms-its":
		// Their content runs, or is shown, in place of a page.
		return true
	case "file", "filesystem", "blob", "content", "about", "view-source", "resource", "wyciwyg",
		"chrome", "chrome-extension", "chrome-untrusted", "devtools", "moz-extension", "safari-web-extension", "edge", "brave", "opera":
		// They lead to local files and to the browser's own pages.
		return true
	case "ftp", "ftps", "sftp", "ssh", "telnet", "gopher", "ldap", "ldaps", "smb", "ws", "wss", "mailto", "news", "nntp",
		"tel", "sms", "intent", "ms-msdt", "search-ms":
		// They hand the code, or a command, to a program that is not an application waiting for a code.
		return true
	}
	return false
}
