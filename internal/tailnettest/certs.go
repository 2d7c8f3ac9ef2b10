// Copyright (c) Tailscale Inc & contributors
// SPDX-License-Identifier: BSD-3-Clause

package tailnettest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tailscale.com/ipn/ipnlocal"
)

// CA returns a pool that holds only the authority that signed all certificates
// of this tailnet. Each call returns a new pool.
func (tn *Tailnet) CA() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(tn.ca.cert)
	return pool
}

// CertFiles puts a certificate for fqdn where a tailscale node of another process
// with the state directory dir looks for one: dir/certs/<fqdn>.crt and .key.
// The process must run with [Tailnet.Env].
func (tn *Tailnet) CertFiles(t testing.TB, dir, fqdn string) {
	t.Helper()
	pair, err := tn.ca.issue(fqdn)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "certs", fqdn)
	if err := os.MkdirAll(filepath.Dir(base), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base+".crt", pair.CertPEM, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base+".key", pair.KeyPEM, 0o600); err != nil {
		t.Fatal(err)
	}
}

// An authority signs certificates that live for 90 days from its making on.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority() (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := certTemplate("tailnettest authority")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &authority{key: key, cert: cert}, nil
}

// issue returns a new server certificate for one DNS name, and its key.
func (a *authority) issue(name string) (*ipnlocal.TLSCertKeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", name, err)
	}
	template := certTemplate(name)
	template.DNSNames = []string{name}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", name, err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	return &ipnlocal.TLSCertKeyPair{
		CertPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func certTemplate(name string) *x509.Certificate {
	// A node renews, and so asks ACME, after 2/3 of the life: start it now. The
	// minute is for clocks of containers.
	start := time.Now().Add(-time.Minute)
	return &x509.Certificate{
		SerialNumber: big.NewInt(start.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    start,
		NotAfter:     start.Add(90 * 24 * time.Hour),
	}
}
