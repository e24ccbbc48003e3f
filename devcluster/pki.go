package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity of everything issued here. A state folder is not expected to live that long.
const validity = 10 * 365 * 24 * time.Hour

// pki is the cluster's certificate authority and the key that signs service account tokens. Both stay in the state folder:
// kubeconfigs and tokens given out by one run are good in the next.
type pki struct {
	dir   string
	ca    *x509.Certificate
	caKey crypto.Signer
	caPEM []byte
}

// openPKI loads the authority from dir or makes a new one. The service account key is written last, so that its presence
// means that the rest is complete.
func openPKI(dir string) (*pki, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	p := &pki{dir: dir}
	if _, err := os.Stat(p.path("sa.pub")); err == nil {
		return p, p.load()
	}
	if err := p.createAuthority(); err != nil {
		return nil, err
	}
	return p, p.createServiceAccountKey()
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) load() error {
	pair, err := tls.LoadX509KeyPair(p.path("ca.crt"), p.path("ca.key"))
	if err != nil {
		return fmt.Errorf("the state folder's certificate authority cannot be read: %w; choose another folder with --dir, or delete this one", err)
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return errors.New("the state folder's ca.key cannot sign; choose another folder with --dir, or delete this one")
	}
	p.ca, p.caKey = pair.Leaf, key
	p.caPEM, err = os.ReadFile(p.path("ca.crt"))
	return err
}

func (p *pki) createAuthority() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := newTemplate(pkix.Name{CommonName: "devcluster-ca"})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	if p.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	p.caKey = key
	p.caPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return errors.Join(p.write("ca.crt", "CERTIFICATE", der), p.writeKey("ca.key", key))
}

// createServiceAccountKey makes an RSA key: every verifier of tokens knows RS256.
func (p *pki) createServiceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	if err := p.writeKey("sa.key", key); err != nil {
		return err
	}
	return p.write("sa.pub", "PUBLIC KEY", pub)
}

// issue writes file.crt and file.key for a subject. The certificate serves and calls; without hosts it only calls.
func (p *pki) issue(file string, subject pkix.Name, dns []string, ips []net.IP) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := newTemplate(subject)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	template.DNSNames, template.IPAddresses = dns, ips
	der, err := x509.CreateCertificate(rand.Reader, template, p.ca, key.Public(), p.caKey)
	if err != nil {
		return err
	}
	return errors.Join(p.write(file+".crt", "CERTIFICATE", der), p.writeKey(file+".key", key))
}

// newTemplate begins an hour ago, for clocks that are a little off. Go picks a random serial number.
func newTemplate(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity)}
}

func (p *pki) writeKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return p.write(name, "PRIVATE KEY", der)
}

// write stores one PEM block that only the owner can read: the folder is the cluster's identity.
func (p *pki) write(name, blockType string, der []byte) error {
	return writeFileAtomic(p.path(name), pem.EncodeToMemory(&pem.Block{Type: blockType, Bytes: der}), 0o600)
}
