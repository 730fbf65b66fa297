package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// certsFlags are those of `usher admin certs`.
type certsFlags struct {
	dir   string
	nodes listFlag
	hosts listFlag
	days  int
	force bool
}

func (c *certsFlags) register(f *flag.FlagSet) {
	f.StringVar(&c.dir, "dir", "", "`directory` for the files, made if it does not exist")
	f.Var(&c.nodes, "node", "`names` of the nodes to certify, between commas or one by one")
	f.Var(&c.hosts, "host", "host `names` or IP addresses to put into these certificates")
	f.IntVar(&c.days, "days", 3650, "`days` for which the nodes' certificates are good")
	f.BoolVar(&c.force, "force", false, "replace the files of nodes that have some")
}

// check reports what is wrong with what was typed. All names are looked at before
// anything is written.
func (c *certsFlags) check() error {
	switch {
	case c.dir == "":
		return usageError{"say where to put the certificates: --dir DIRECTORY"}
	case len(c.nodes.values) == 0:
		return usageError{"say which nodes to certify: --node NAME, once for each"}
	case c.days < 1 || c.days > maxCertDays:
		return usageError{fmt.Sprintf("--days %d: want 1 to %d", c.days, maxCertDays)}
	}
	for i, name := range c.nodes.values {
		if err := checkNodeName(name); err != nil {
			return err
		}
		if slices.Contains(c.nodes.values[:i], name) {
			return usageError{fmt.Sprintf("node %s is named twice", name)}
		}
	}
	for _, host := range c.hosts.values {
		if net.ParseIP(host) == nil && !hostName(host) {
			return usageError{fmt.Sprintf("--host %q: want a host name or an IP address, without a port", host)}
		}
	}
	return nil
}

// reserved are node names whose files would be those of the authority.
var reserved = []string{strings.TrimSuffix(caFile, ".pem"), strings.TrimSuffix(caKeyFile, ".pem")}

// checkNodeName refuses what no node can be called, as the cluster would.
func checkNodeName(name string) error {
	switch {
	case !plainName(name):
		return usageError{fmt.Sprintf("node name %q: want 1 to %d letters, digits, '-', '.' or '_'", name, wire.MaxKeyLen)}
	case strings.Trim(name, ".") == "" || slices.Contains(reserved, name) || strings.HasSuffix(name, "-key"):
		return usageError{fmt.Sprintf("node name %q cannot be the name of its files", name)}
	}
	return nil
}

func plainName(name string) bool {
	for _, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && c != '-' && c != '.' && c != '_' {
			return false
		}
	}
	return name != "" && len(name) <= wire.MaxKeyLen
}

// hostName reports whether a name can be one in the DNS.
func hostName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if !plainName(label) || strings.Contains(label, "_") {
			return false
		}
	}
	return len(name) <= 253 // bytes, says RFC 1035
}

// certs makes the certificates by which nodes know each other. It asks no node.
func (a *adminCall) certs(context.Context) error {
	c := &a.forCerts
	if err := c.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	ca, made, err := openAuthority(c.dir)
	if err != nil {
		return err
	}
	if made {
		fmt.Fprintf(a.stdout, "made an authority: %s\n", filepath.Join(c.dir, caFile))
	}
	for _, name := range c.nodes.values {
		if err := ca.certify(c.dir, nodeCert{name, c.hosts.values, c.days, c.force}); err != nil {
			return fmt.Errorf("certify node %s: %w", name, err)
		}
		fmt.Fprintf(a.stdout, "%s: usher serve --node %s --peer-ca %s --peer-cert %s --peer-key %s\n", name, name,
			filepath.Join(c.dir, caFile), filepath.Join(c.dir, name+".pem"), filepath.Join(c.dir, name+"-key.pem"))
	}
	fmt.Fprintf(a.stdout, "keep %s away from the nodes: whoever has it can make one\n", filepath.Join(c.dir, caKeyFile))
	return nil
}
