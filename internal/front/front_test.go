// Package front holds what docs/load-balancer.md says against a real nginx before a
// real node.
package front

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/usher-seats/usher/server"
)

// patience bounds whatever a test waits for. Nothing takes nearly as long.
const patience = 20 * time.Second

// A house is a node with nginx before it, as docs/examples/nginx.conf has it but for
// addresses and paths. It belongs to a test.
type house struct {
	t      *testing.T
	node   *server.Node
	url    string // of nginx
	client *http.Client
}

// newHouse starts both.
func newHouse(t *testing.T) *house {
	t.Helper()
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		nginx = "/usr/sbin/nginx" // where Debian has it, which is not in everybody's path
		if _, err := os.Stat(nginx); err != nil {
			t.Skip("nginx is not installed, so docs/examples/nginx.conf is not tried; on Debian: apt-get install nginx-light")
		}
	}
	node, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), Listen: server.Off, HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Peer: "127.0.0.1:0",
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := node.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	addr := freeAddr(t)
	h := &house{t: t, node: node, url: "https://" + addr}
	dir := t.TempDir()
	roots := certificate(t, dir)
	h.client = &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true, MaxIdleConnsPerHost: 64,
	}}
	t.Cleanup(h.client.CloseIdleConnections)
	h.run(nginx, dir, config(t, dir, addr, node.HTTPAddr()))
	return h
}

// config is the example with other addresses and paths. Of the two nodes that it
// names, the second is dead.
func config(t *testing.T, dir, addr, node string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "examples", "nginx.conf"))
	if err != nil {
		t.Fatal(err)
	}
	conf := string(text)
	replace := func(was, is string, times int) {
		if !strings.Contains(conf, was) {
			t.Fatalf("docs/examples/nginx.conf has no %q", was)
		}
		conf = strings.Replace(conf, was, is, times)
	}
	user := "user root;" // if it is root who runs the test, whose files nobody else may read
	if os.Geteuid() != 0 {
		user = ""
	}
	replace("user www-data;", user, 1)
	replace("worker_processes auto;", "worker_processes 1;", 1)
	replace("worker_rlimit_nofile 200000;", "", 1)
	replace("worker_connections 65536;", "worker_connections 1024;", 1)
	replace("/run/nginx.pid", filepath.Join(dir, "pid"), 1)
	replace("/var/log/nginx/error.log warn", filepath.Join(dir, "error.log")+" warn", 1)
	replace("/var/cache/nginx/usher", filepath.Join(dir, "cache"), 1)
	replace("/etc/nginx/", dir+"/", 2)
	replace("listen 443 ", "listen "+addr+" ", 1)
	replace("10.0.0.1:8080", node, -1)
	replace("10.0.0.2:8080", freeAddr(t), -1)
	temp := ""
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += kind + "_temp_path " + filepath.Join(dir, kind) + ";\n"
	}
	replace("http {\n", "http {\n"+temp, 1)
	return conf
}

// run starts nginx and waits until it answers. The test's end stops it.
func (h *house) run(nginx, dir, conf string) {
	h.t.Helper()
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log"), "-g", "daemon off;")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone already
		_ = cmd.Wait()
		log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
		if h.t.Failed() {
			h.t.Logf("nginx said: %s%s", out.String(), log)
		}
	})
	h.eventually("nginx answers", func() bool {
		resp, err := h.client.Get(h.url + "/")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true
	})
}

func (h *house) eventually(what string, cond func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !cond(); {
		if time.Now().After(end) {
			h.t.Fatalf("waited %v in vain: %s", patience, what)
		}
		time.Sleep(5 * time.Millisecond) // the interval of a poll, not a guess at a duration
	}
}

// freeAddr is an address on loopback that nobody listened to a moment ago.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// certificate writes the files that the example names, for 127.0.0.1.
func certificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mould := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, mould, mould, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{
		"tickets.crt": {Type: "CERTIFICATE", Bytes: der},
		"tickets.key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		text := pem.EncodeToMemory(block)
		roots.AppendCertsFromPEM(text)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return roots
}
