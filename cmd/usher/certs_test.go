package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// readCert reads a certificate that the program has written.
func readCert(t *testing.T, path string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("%s is not PEM", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestCerts proves that nodes can check each other with what `usher admin certs`
// makes, that a node added later is one of them, and that no other authority's is.
func TestCerts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	out, stderr, code := invoke(t, "admin", "certs", "--dir", dir, "--node", "n1", "--node", "n2", "--host", "host.example,10.0.0.7", "--host", "::1")
	if code != exitDone || !strings.Contains(out, "--peer-cert "+filepath.Join(dir, "n2.pem")) {
		t.Fatalf("exit %d, %s%s", code, out, stderr)
	}
	if out, stderr, code := invoke(t, "admin", "certs", "--dir", dir, "--node", "n3"); code != exitDone || strings.Contains(out, "made an authority") {
		t.Fatalf("a third node: exit %d, %s%s", code, out, stderr)
	}
	ca := x509.NewCertPool()
	ca.AddCert(readCert(t, filepath.Join(dir, "ca.pem")))
	for _, name := range []string{"n1", "n2", "n3"} {
		cert := readCert(t, filepath.Join(dir, name+".pem"))
		for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
			if _, err := cert.Verify(x509.VerifyOptions{Roots: ca, DNSName: name, KeyUsages: []x509.ExtKeyUsage{usage}}); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if len(cert.URIs) != 1 || cert.URIs[0].String() != "usher://node/"+name {
			t.Errorf("%s is %v", name, cert.URIs)
		}
		for _, host := range []string{"host.example", "10.0.0.7", "::1"} {
			if err := cert.VerifyHostname(host); (err == nil) != (name != "n3") {
				t.Errorf("%s at %s: %v", name, host, err)
			}
		}
		if _, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"ca-key.pem", "n1-key.pem", "n3-key.pem"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	alien := t.TempDir()
	invoke(t, "admin", "certs", "--dir", alien, "--node", "n1")
	if _, err := readCert(t, filepath.Join(alien, "n1.pem")).Verify(x509.VerifyOptions{Roots: ca}); err == nil {
		t.Error("a node of another authority is taken for one of the cluster")
	}
}

// TestCertsAreNotOverwritten proves that a node's files are replaced only by force,
// and that half an authority is noticed and not replaced.
func TestCertsAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	make := func(args ...string) (stderr string, code int) {
		t.Helper()
		_, stderr, code = invoke(t, append([]string{"admin", "certs", "--dir", dir, "--node", "n1"}, args...)...)
		return stderr, code
	}
	if stderr, code := make(); code != exitDone {
		t.Fatal(stderr)
	}
	first := readCert(t, filepath.Join(dir, "n1.pem")).SerialNumber
	if stderr, code := make(); code != exitFailed || !strings.Contains(stderr, "--force") {
		t.Errorf("again: exit %d, %s", code, stderr)
	}
	if now := readCert(t, filepath.Join(dir, "n1.pem")).SerialNumber; now.Cmp(first) != 0 {
		t.Error("the certificate was replaced without --force")
	}
	if stderr, code := make("--force"); code != exitDone {
		t.Error(stderr)
	}
	if now := readCert(t, filepath.Join(dir, "n1.pem")).SerialNumber; now.Cmp(first) == 0 {
		t.Error("the certificate was not replaced with --force")
	}
	if err := os.Remove(filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if stderr, code := make("--force"); code != exitFailed || !strings.Contains(stderr, "needs both") {
		t.Errorf("half an authority: exit %d, %s", code, stderr)
	}
}

// TestCertsWrongUsage proves that bad names are refused before anything is written.
func TestCertsWrongUsage(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--node", "n1"}, "--dir"},
		{[]string{"--dir", dir}, "--node"},
		{[]string{"--dir", dir, "--node", "../n1"}, "letters, digits"},
		{[]string{"--dir", dir, "--node", "n1", "--node", "n 2"}, "letters, digits"},
		{[]string{"--dir", dir, "--node", "ñ"}, "letters, digits"},
		{[]string{"--dir", dir, "--node", ""}, "empty"},
		{[]string{"--dir", dir, "--node", strings.Repeat("x", 65)}, "1 to 64"},
		{[]string{"--dir", dir, "--node", ".."}, "files"},
		{[]string{"--dir", dir, "--node", "ca"}, "files"},
		{[]string{"--dir", dir, "--node", "n1-key"}, "files"},
		{[]string{"--dir", dir, "--node", "n1,n1"}, "twice"},
		{[]string{"--dir", dir, "--node", "n1", "--host", "h:80"}, "without a port"},
		{[]string{"--dir", dir, "--node", "n1", "--days", "0"}, "1 to"},
		{[]string{"--dir", dir, "--node", "n1", "more"}, "usage"},
	} {
		stdout, stderr, code := invoke(t, append([]string{"admin", "certs"}, c.args...)...)
		if code != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 2 and %q", c.args, code, stdout, stderr, c.want)
		}
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a refused call made its directory")
	}
}
