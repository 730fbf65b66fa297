package server

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"os"

	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// role is what the holder of an API key may do. As long as the cluster has no
// keys, everybody who can reach the node may operate it: Start has made sure
// that this is only this machine, or that somebody insisted.
func (n *Node) role(key []byte) (wire.Role, bool) { return n.roleIn(n.table(), sha256.Sum256(key)) }

func (n *Node) roleIn(t *directory.Table, hash [32]byte) (wire.Role, bool) {
	if len(t.Keys()) == 0 {
		return wire.RoleOperate, !n.exposed || n.cfg.Insecure
	}
	return t.Role(hash)
}

const (
	operatorKeyName = "operator"
	minKeyLen       = 16 // bytes; a shorter one can be guessed
	maxKeyLen       = 512
)

// readOperatorKey reads the first API key from its file.
func readOperatorKey(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the operator's key: %w", err)
	}
	key := bytes.TrimSpace(text)
	if len(key) < minKeyLen || len(key) > maxKeyLen {
		return nil, fmt.Errorf("the operator's key in %s has %d bytes: want %d to %d, such as the output of `openssl rand -hex 32`",
			path, len(key), minKeyLen, maxKeyLen)
	}
	return key, nil
}

// loadTLS makes the configuration of all listeners, or nil without certificate.
func loadTLS(c *Config) (*tls.Config, error) {
	if c.TLSCert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(c.TLSCert, c.TLSKey)
	if err != nil {
		return nil, fmt.Errorf("load the TLS certificate: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}, nil
}
