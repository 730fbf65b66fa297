package main

import (
	"crypto/tls"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/usher-seats/usher/client"
)

// connectFlags are how a tool reaches a node.
type connectFlags struct {
	addr, key, keyFile, caFile string
	tls                        bool
}

func (c *connectFlags) register(f *flag.FlagSet, addrHelp, addr string) {
	f.StringVar(&c.addr, "addr", addr, addrHelp)
	f.StringVar(&c.key, "key", "", "API `key`; better in a file or in USHER_KEY than on the command line")
	f.StringVar(&c.keyFile, "key-file", "", "`file` with the API key")
	f.BoolVar(&c.tls, "tls", false, "speak TLS, trusting the certificates that this machine trusts")
	f.StringVar(&c.caFile, "ca-file", "", "PEM `file` with the certificate to trust; means --tls")
}

// apiKey is the key as given, or as the file has it.
func (c *connectFlags) apiKey() (string, error) {
	if c.keyFile == "" {
		return c.key, nil
	}
	text, err := os.ReadFile(c.keyFile)
	if err != nil {
		return "", fmt.Errorf("read the API key: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func (c *connectFlags) tlsConfig() (*tls.Config, error) {
	if !c.tls && c.caFile == "" {
		return nil, nil
	}
	if c.caFile == "" {
		return &tls.Config{MinVersion: tls.VersionTLS13}, nil
	}
	pem, err := os.ReadFile(c.caFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate to trust: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usageError{fmt.Sprintf("%s has no PEM certificate", c.caFile)}
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}, nil
}

func (c *connectFlags) clientOptions() (o client.Options, err error) {
	if o.Key, err = c.apiKey(); err != nil {
		return o, err
	}
	o.TLS, err = c.tlsConfig()
	return o, err
}
