package raftlog

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
)

// PeerTLS loads what a node needs for TLS with its peers: its certificate, which
// names it in a URI "usher://node/<name>", the key to it, and the certificate of
// the authority that signs the nodes of the cluster. All are PEM files.
func PeerTLS(certFile, keyFile, caFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("certificate between nodes: %w", err)
	}
	text, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("authority between nodes: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("authority between nodes: %s has no certificate in PEM", caFile)
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		MinVersion:   tls.VersionTLS13,
	}, nil
}

// peerTLS makes the listener's and the dialer's configuration of one. Both sides
// must show a certificate of the cluster's authority. Which node it is for is
// checked when the hello has said who it claims to be; the host's name in it
// does not count, because nodes move.
func peerTLS(c *tls.Config) (listen, dial *tls.Config, err error) {
	if c.RootCAs == nil || c.ClientCAs == nil {
		return nil, nil, errors.New("raftlog: PeerConfig.TLS needs RootCAs and ClientCAs: the system's authorities know no nodes")
	}
	if len(c.Certificates) == 0 && c.GetCertificate == nil {
		return nil, nil, errors.New("raftlog: PeerConfig.TLS has no certificate")
	}
	listen = c.Clone()
	listen.MinVersion = tls.VersionTLS13
	listen.ClientAuth = tls.RequireAndVerifyClientCert
	listen.SessionTicketsDisabled = true // connections last

	dial = c.Clone()
	dial.MinVersion = tls.VersionTLS13
	dial.InsecureSkipVerify = true // of the host's name; the chain is verified here
	dial.VerifyConnection = func(s tls.ConnectionState) error {
		between := x509.NewCertPool()
		for _, cert := range s.PeerCertificates[1:] {
			between.AddCert(cert)
		}
		_, err := s.PeerCertificates[0].Verify(x509.VerifyOptions{
			Roots: c.RootCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		})
		return err
	}
	return listen, dial, nil
}

// certifies checks that the other end of a connection has a certificate for a
// node's name; without TLS there is none to check.
func certifies(conn net.Conn, node string) error {
	t, ok := conn.(*tls.Conn)
	if !ok {
		return nil
	}
	cert := t.ConnectionState().PeerCertificates[0] // the handshake demands one
	for _, u := range cert.URIs {
		if u.Scheme == "usher" && u.Host == "node" && u.Path == "/"+node {
			return nil
		}
	}
	if len(cert.URIs) == 0 {
		return fmt.Errorf("the certificate shown names no node; it must have the URI usher://node/%s", node)
	}
	return fmt.Errorf("the certificate shown is for %s, not for usher://node/%s", cert.URIs[0], node)
}
