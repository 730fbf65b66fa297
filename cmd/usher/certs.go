package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

const (
	caFile    = "ca.pem"
	caKeyFile = "ca-key.pem"

	// nodeScheme and nodeHost begin the URI by which a certificate names its node.
	nodeScheme = "usher"
	nodeHost   = "node"

	// caDays is how long an authority is good: longer than any certificate of a
	// node, because all nodes must be given a new one at the same time.
	caDays = 20 * 365
	// maxCertDays bounds a node's certificate, in days.
	maxCertDays = caDays
	// clockSlack is how far the clocks of nodes may be apart when a certificate is
	// new.
	clockSlack = time.Hour
)

// An authority certifies the nodes of one cluster. Immutable.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// openAuthority reads the authority in a directory, or makes one if it has none.
func openAuthority(dir string) (a *authority, made bool, err error) {
	certPEM, certErr := os.ReadFile(filepath.Join(dir, caFile))
	keyPEM, keyErr := os.ReadFile(filepath.Join(dir, caKeyFile))
	noCert, noKey := errors.Is(certErr, fs.ErrNotExist), errors.Is(keyErr, fs.ErrNotExist)
	switch {
	case noCert && noKey:
		a, err = makeAuthority(dir)
		return a, err == nil, err
	case noCert || noKey:
		return nil, false, fmt.Errorf("%s has one of %s and %s: an authority needs both", dir, caFile, caKeyFile)
	case certErr != nil || keyErr != nil:
		return nil, false, fmt.Errorf("read the authority: %w", errors.Join(certErr, keyErr))
	}
	a, err = parseAuthority(certPEM, keyPEM)
	if err != nil {
		return nil, false, fmt.Errorf("read the authority in %s: %w", dir, err)
	}
	return a, false, nil
}

func parseAuthority(certPEM, keyPEM []byte) (*authority, error) {
	certBlock, _ := pem.Decode(certPEM)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, errors.New("it is not PEM")
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParsePKCS8PrivateKey(keyBlock.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	switch {
	case !ok || !key.PublicKey.Equal(cert.PublicKey):
		return nil, errors.New("its key is not that of its certificate")
	case !cert.IsCA:
		return nil, errors.New("its certificate may not certify others")
	case time.Now().After(cert.NotAfter):
		return nil, fmt.Errorf("it was good until %s", cert.NotAfter.Format(time.DateOnly))
	}
	return &authority{cert, key}, nil
}

// makeAuthority makes an authority. Its key is written first: a certificate
// without key would be taken for a lost key.
func makeAuthority(dir string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "usher cluster authority"},
		NotBefore:             time.Now().Add(-clockSlack),
		NotAfter:              time.Now().AddDate(0, 0, caDays),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true, // it certifies nodes, not authorities
	}
	der, err := certify(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if err := writeKey(filepath.Join(dir, caKeyFile), key); err != nil {
		return nil, err
	}
	return &authority{cert, key}, writePEM(filepath.Join(dir, caFile), "CERTIFICATE", der, 0o644)
}

func certify(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // bits, as RFC 5280 allows
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	return x509.CreateCertificate(rand.Reader, template, parent, public, signer)
}

// A nodeCert is what a node is to be certified. Immutable.
type nodeCert struct {
	name  string
	hosts []string // names and IP addresses by which others reach it
	days  int
	force bool // replace the node's files
}

// certify makes a node's key and certificate. The node's name is in a URI, which is
// what other nodes check; host names are for whoever looks at them besides.
func (a *authority) certify(dir string, n nodeCert) error {
	certPath, keyPath := filepath.Join(dir, n.name+".pem"), filepath.Join(dir, n.name+"-key.pem")
	for _, path := range []string{certPath, keyPath} {
		if _, err := os.Stat(path); err == nil && !n.force {
			return fmt.Errorf("%s exists already: --force replaces it", path)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: n.name},
		NotBefore:   time.Now().Add(-clockSlack),
		NotAfter:    time.Now().AddDate(0, 0, n.days),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{{Scheme: nodeScheme, Host: nodeHost, Path: "/" + n.name}},
		DNSNames:    []string{n.name},
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	for _, host := range n.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != n.name {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := certify(template, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	if err := writeKey(keyPath, key); err != nil {
		return err
	}
	return writePEM(certPath, "CERTIFICATE", der, 0o644)
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "PRIVATE KEY", der, 0o600)
}

// writePEM puts a file in its place as a whole, with that mode whatever was there.
func writePEM(path, kind string, der []byte, mode os.FileMode) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(temporary, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}
