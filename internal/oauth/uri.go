// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// maxURI is the length in bytes of the longest URI that this package accepts.
const maxURI = 2048

// parts is a URI taken apart and not interpreted: nothing is decoded, folded or cleaned, and each delimiter stays with its
// component, so that the fields in a row are the string that came in. It is comparable.
type parts struct {
	scheme   string // without its ":"
	slashes  string // "//" if there is an authority
	userinfo string // with its "@"
	host     string // with the brackets of an IPv6 address
	port     string // with its ":"
	path     string
	query    string // with its "?"
	fragment string // with its "#"
}

// split takes s apart as RFC 3986 Appendix B does. It reports false if s does not begin with a scheme; it accepts anything else.
func split(s string) (p parts, ok bool) {
	scheme, rest, found := strings.Cut(s, ":")
	if !found || !validScheme(scheme) {
		return parts{}, false
	}
	p.scheme = scheme
	rest, p.fragment = cutBefore(rest, "#")
	rest, p.query = cutBefore(rest, "?")
	authority, found := strings.CutPrefix(rest, "//")
	if !found {
		p.path = rest
		return p, true
	}
	p.slashes = "//"
	authority, p.path = cutBefore(authority, "/")
	// Browsers take the last "@" as the end of the user information.
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		p.userinfo, authority = authority[:at+1], authority[at+1:]
	}
	p.host, p.port = cutPort(authority)
	return p, true
}

// cutPort splits an authority without user information into host and port. What follows the bracket of an IPv6 address is
// given as the port, colon or not, for [validPort] to refuse.
func cutPort(authority string) (host, port string) {
	if strings.HasPrefix(authority, "[") {
		end := strings.LastIndexByte(authority, ']') + 1
		if end == 0 {
			return authority, ""
		}
		return authority[:end], authority[end:]
	}
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 {
		return authority, ""
	}
	return authority[:colon], authority[colon:]
}

// cutBefore splits s in front of the first sep, which stays with the second half.
func cutBefore(s, sep string) (before, from string) {
	i := strings.Index(s, sep)
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// String puts p together again; String of what split returned is the string that was split.
func (p parts) String() string {
	return p.scheme + ":" + p.slashes + p.userinfo + p.host + p.port + p.path + p.query + p.fragment
}

// isWeb reports whether the scheme is http or https, in any letter case.
func (p parts) isWeb() bool {
	return strings.EqualFold(p.scheme, "http") || strings.EqualFold(p.scheme, "https")
}

// checkText says why s cannot be a URI by its characters alone, as the predicate of a sentence, or nil. Text that passes has
// neither control characters nor blanks nor backslashes, which browsers drop or read as other characters.
func checkText(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	if len(s) > maxURI {
		return fmt.Errorf("is longer than %d bytes", maxURI)
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c == ' ':
			return errors.New("contains a blank: write it as %20")
		case c < ' ' || c == 0x7f:
			return errors.New("contains a control character such as a line break or a tab: remove it")
		case c > 0x7f:
			return errors.New("contains a letter outside ASCII: write hosts in their xn-- form and everything else percent-encoded")
		case c == '\\':
			return errors.New("contains a backslash: write a slash, or %5C if the backslash is meant")
		case c == '%' && !isEscape(s[i:]):
			return errors.New("contains a % that two hexadecimal digits do not follow: write it as %25")
		}
	}
	return nil
}

// isEscape reports whether s begins with a percent-encoded byte.
func isEscape(s string) bool {
	return len(s) >= 3 && s[0] == '%' && isHex(s[1]) && isHex(s[2])
}

func isHex(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }

// validScheme reports whether s is a scheme by RFC 3986 §3.1: ALPHA *( ALPHA / DIGIT / "+" / "-" / "." ).
func validScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

// validHost reports whether host is what the authority of an http or https URI may name: a name of letters, digits, "-", "."
// and "_", an IPv4 address, or an IPv6 address in brackets without a zone. RFC 3986 permits more, none of which names a host.
func validHost(host string) bool {
	if inner, found := strings.CutPrefix(host, "["); found {
		inner, found = strings.CutSuffix(inner, "]")
		address, err := netip.ParseAddr(inner)
		return found && err == nil && address.Is6() && address.Zone() == ""
	}
	for i := range len(host) {
		if c := host[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return host != ""
}

// validPort reports whether port is empty, or a colon and a number from 0 to 65535 without leading zeros.
func validPort(port string) bool {
	if port == "" {
		return true
	}
	digits, found := strings.CutPrefix(port, ":")
	n, err := strconv.ParseUint(digits, 10, 16)
	return found && err == nil && strconv.FormatUint(n, 10) == digits
}

// loopbackHost reports whether host is one of the three names of this machine, in lower case.
func loopbackHost(host string) bool {
	return host == "127.0.0.1" || host == "[::1]" || host == "localhost"
}
