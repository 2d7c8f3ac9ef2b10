// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package oauth

import (
	"strings"
	"testing"
)

// The example of RFC 7636 Appendix B.
const (
	rfcVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	rfcChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

func TestValidVerifier(t *testing.T) {
	for _, v := range []string{rfcVerifier, strings.Repeat("v", 43), strings.Repeat("~", 128), "AZaz09-._~" + strings.Repeat("0", 40)} {
		if !ValidVerifier(v) {
			t.Errorf("ValidVerifier(%q) = false", v)
		}
	}
	for _, v := range []string{"", strings.Repeat("v", 42), strings.Repeat("v", 129), strings.Repeat("v", 43) + "=", strings.Repeat("v", 43) + "+",
		strings.Repeat("v", 43) + "/", strings.Repeat("v", 43) + " ", strings.Repeat("v", 43) + "\n", strings.Repeat("v", 43) + "\x00", strings.Repeat("é", 43)} {
		if ValidVerifier(v) {
			t.Errorf("ValidVerifier(%q) = true", v)
		}
	}
}

func TestValidChallenge(t *testing.T) {
	for _, c := range []string{rfcChallenge, strings.Repeat("A", 43), strings.Repeat("_", 42) + "8"} {
		if !ValidChallenge(c) {
			t.Errorf("ValidChallenge(%q) = false", c)
		}
	}
	for _, c := range []string{"", rfcChallenge[:42], rfcChallenge + "A", rfcChallenge + "=", rfcChallenge[:42] + "N", // final bits that 32 bytes do not have
		rfcChallenge[:42] + "\n", strings.Repeat("A", 42) + "\n", rfcChallenge + "\n", rfcChallenge[:20] + "\r\n" + rfcChallenge[20:], rfcChallenge[:42] + "+", rfcChallenge[:42] + " ",
		strings.Repeat("A", 41) + "é", strings.Repeat("\n", 43)} {
		if ValidChallenge(c) {
			t.Errorf("ValidChallenge(%q) = true", c)
		}
	}
}

func TestVerifyS256(t *testing.T) {
	if got := ChallengeS256(rfcVerifier); got != rfcChallenge {
		t.Errorf("ChallengeS256 = %q, want %q", got, rfcChallenge)
	}
	short := strings.Repeat("v", 42)
	tests := []struct {
		name, challenge, verifier string
		want                      bool
	}{
		{"RFC 7636", rfcChallenge, rfcVerifier, true},
		{"other verifier", rfcChallenge, strings.Repeat("v", 43), false},
		{"plain", rfcVerifier, rfcVerifier, false},
		{"no challenge", "", rfcVerifier, false},
		{"no verifier", rfcChallenge, "", false},
		{"neither", "", "", false},
		{"verifier too short", ChallengeS256(short), short, false},
		{"padded challenge", rfcChallenge + "=", rfcVerifier, false},
		{"challenge cut off", rfcChallenge[:42], rfcVerifier, false},
		{"challenge in capitals", strings.ToUpper(rfcChallenge), rfcVerifier, false},
	}
	for _, test := range tests {
		if got := VerifyS256(test.challenge, test.verifier); got != test.want {
			t.Errorf("%s: VerifyS256(%q, %q) = %v", test.name, test.challenge, test.verifier, got)
		}
	}
}

func FuzzVerifyS256(f *testing.F) {
	f.Add(rfcChallenge, rfcVerifier)
	f.Add("", "")
	f.Add(rfcVerifier, rfcVerifier)
	f.Fuzz(func(t *testing.T, challenge, verifier string) {
		own := ChallengeS256(verifier)
		if !ValidChallenge(own) || VerifyS256(own, verifier) != ValidVerifier(verifier) {
			t.Fatalf("challenge %q of verifier %q", own, verifier)
		}
		if VerifyS256(challenge, verifier) && (challenge != own || !ValidVerifier(verifier)) {
			t.Fatalf("VerifyS256(%q, %q)", challenge, verifier)
		}
	})
}
