// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package safefetch

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

const (
	// maxURL is the length in bytes of the longest URL that is fetched.
	maxURL = 2048
	// maxHost is that of the longest name (RFC 1035 section 2.3.4, less the
	// root).
	maxHost = 253
	// defaultPort is that of https.
	defaultPort = "443"
)

// hint names what an administrator can do about a refusal.
const hint = "an administrator can allow it with -client-metadata-allow "

// A hostPort is a host in its canonical form, as parseHostPort makes it, and
// a port in decimal.
type hostPort struct{ host, port string }

// String is the form of -client-metadata-allow.
func (h hostPort) String() string {
	host := h.host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if h.port == defaultPort {
		return host
	}
	return host + ":" + h.port
}

// A target is a URL that may be fetched if its addresses may.
type target struct {
	hostPort
	url    *url.URL
	listed bool // an administrator trusts the host: it may be private
}

// target judges the text of a URL. Errors: ErrRefused.
func (c *Client) target(raw string) (target, error) {
	h, rest, err := splitURL(raw)
	if err != nil {
		return target{}, err
	}
	if c.isOwn(h) {
		return target{}, refused("its host is this server itself")
	}
	_, listed := c.allowed[h]
	if !listed {
		if err := checkPublic(h); err != nil {
			return target{}, err
		}
	}
	u, err := url.ParseRequestURI("https://" + h.String() + rest)
	if err != nil {
		return target{}, refused("it is not a valid URL")
	}
	return target{h, u, listed}, nil
}

// isOwn reports whether h is the provider's: by host and port, or by host if
// the name was given without a port.
func (c *Client) isOwn(h hostPort) bool {
	_, exact := c.own[h]
	_, wholly := c.own[hostPort{h.host, ""}]
	return exact || wholly
}

// splitURL takes an https URL apart, strictly: a text that another parser
// might read as another host or path is none. rest begins with the path.
func splitURL(raw string) (h hostPort, rest string, err error) {
	if len(raw) > maxURL {
		return hostPort{}, "", refused("it is longer than %d bytes", maxURL)
	}
	after, ok := strings.CutPrefix(raw, "https://")
	if !ok {
		return hostPort{}, "", refused("it does not begin with https://")
	}
	authority := after
	if i := strings.IndexAny(after, "/?#"); i >= 0 {
		authority, rest = after[:i], after[i:]
	}
	h, err = parseHostPort(authority)
	if err != nil {
		return hostPort{}, "", refused("%v", err)
	}
	if h.port == "" {
		h.port = defaultPort
	}
	if err := checkRest(rest); err != nil {
		return hostPort{}, "", refused("%v", err)
	}
	return h, rest, nil
}

// checkRest judges path and query.
//
// "MUST NOT contain single-dot or double-dot path components", "MUST NOT
// contain a fragment component"
// (draft-ietf-oauth-client-id-metadata-document-02 section 3). For a key set
// they would be as useless: servers and proxies do not agree what they mean.
func checkRest(rest string) error {
	for i := range len(rest) {
		switch c := rest[i]; {
		case c == '#':
			return fmt.Errorf("it has a fragment")
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}[]", c) >= 0:
			return fmt.Errorf("it has a character that must be percent-encoded in a URL")
		}
	}
	path, _, _ := strings.Cut(rest, "?")
	for segment := range strings.SplitSeq(path, "/") {
		segment = strings.ReplaceAll(strings.ToLower(segment), "%2e", ".")
		if segment == "." || segment == ".." {
			return fmt.Errorf("its path has a dot segment")
		}
	}
	return nil
}

// parseHostPort reads HOST or HOST:PORT, where HOST is a name of ASCII
// letters, digits, "-", "_" and ".", an IPv4 address, or an IPv6 address in
// brackets. The host comes back in lower case, addresses in their one
// canonical form and without brackets; the port is empty if there is none.
func parseHostPort(s string) (hostPort, error) {
	if strings.Contains(s, "@") {
		return hostPort{}, fmt.Errorf("it has a user name or password in it")
	}
	host, port, hasPort := s, "", false
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, after, ok := strings.Cut(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !ok || err != nil || !addr.Is6() || addr.Zone() != "" {
			return hostPort{}, fmt.Errorf("its host is not a valid IPv6 address")
		}
		host, port, hasPort = addr.String(), after, after != ""
		if port, ok = strings.CutPrefix(port, ":"); hasPort && !ok {
			return hostPort{}, fmt.Errorf("its host is followed by something else than a port")
		}
	} else {
		host, port, hasPort = strings.Cut(s, ":")
		host = strings.ToLower(host)
		if err := checkName(host); err != nil {
			return hostPort{}, err
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); hasPort && (err != nil || n == 0 || strconv.FormatUint(n, 10) != port) {
		return hostPort{}, fmt.Errorf("its port is not a number from 1 to 65535")
	}
	return hostPort{host, port}, nil
}

// checkName judges the form of a host that is not in brackets: a name, or an
// IPv4 address written in the one way that everybody reads alike.
func checkName(host string) error {
	if host == "" || len(host) > maxHost {
		return fmt.Errorf("its host is empty or too long")
	}
	if strings.HasSuffix(host, ".") {
		// The same host by another name, past every comparison.
		return fmt.Errorf("its host ends in a dot")
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("its host is not a valid name")
		}
		for i := range len(label) {
			if c := label[i]; !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
				return fmt.Errorf("its host has a character that host names do not have (other scripts are written as xn--…)")
			}
		}
	}
	if _, err := netip.ParseAddr(host); err != nil && endsInNumber(host) {
		return fmt.Errorf("its host is an IP address in disguise")
	}
	return nil
}

// endsInNumber reports whether resolvers and browsers may take a lower-case
// host for an IPv4 address: 2130706433, 0177.0.0.1, 0x7f.1, 127.1 (inet_aton;
// WHATWG URL section 3.5, "ends in a number checker").
func endsInNumber(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	hex, isHex := strings.CutPrefix(last, "0x")
	for i := range len(hex) {
		if c := hex[i]; !isDigit(c) && (!isHex || c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// checkPublic refuses a host and port that the public internet does not have,
// before anybody is asked about it.
func checkPublic(h hostPort) error {
	if _, err := netip.ParseAddr(h.host); err == nil {
		return refused("its host is an IP address, not a name; %s%v", hint, h)
	}
	if h.host == "localhost" || strings.HasSuffix(h.host, ".localhost") {
		return refused("its host is the local machine; %s%v", hint, h)
	}
	last := h.host[strings.LastIndexByte(h.host, '.')+1:]
	switch {
	case last == h.host:
		return refused("its host is a name without a domain; %s%v", hint, h)
	case strings.HasSuffix(h.host, ".ts.net"):
		return refused("its host is in a tailnet; %s%v", hint, h)
	case isPrivateDomain(h.host, last):
		return refused("its host is in a domain of private networks; %s%v", hint, h)
	case !isTopLevel(last):
		return refused("its host is not in a top-level domain; %s%v", hint, h)
	case h.port != defaultPort:
		return refused("its port is not 443; %s%v", hint, h)
	}
	return nil
}

// isPrivateDomain reports whether host, with its last label, is in a domain
// that each network has for itself: RFC 6762 (local), RFC 8375 (home.arpa),
// RFC 7686 (onion), ICANN's (internal).
func isPrivateDomain(host, last string) bool {
	return last == "local" || last == "internal" || last == "onion" || strings.HasSuffix(host, ".home.arpa")
}

// isTopLevel reports whether a lower-case label can be a top-level domain:
// letters alone, or an A-label.
func isTopLevel(label string) bool {
	for i := range len(label) {
		if !isLetter(label[i]) {
			return strings.HasPrefix(label, "xn--")
		}
	}
	return true
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
