package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/usher-seats/usher/server"
)

const aboutServe = `
Runs a node. Without flags: one node that this machine alone can reach, with its
data in ./usher-data, made there if it does not exist. It tells when it serves,
and ends in good order on SIGTERM or Ctrl-C: it refuses new requests, finishes
those under way and takes a snapshot.

To be reached from other machines it wants TLS and an API key:

  openssl rand -hex 32 > operator.key
  usher serve --listen :7700 --http :8080 \
      --tls-cert cert.pem --tls-key key.pem --operator-key-file operator.key

The first node makes a cluster, the others join it, at the --peer address of any
node that is up. A node that has data goes on with the cluster that it is in,
whatever --join says, so its command stays the same for ever. Three on one
machine, each in a terminal:

  usher serve --node n1 --data n1
  usher serve --node n2 --data n2 --join 127.0.0.1:7701 --peer 127.0.0.1:7711 \
      --listen 127.0.0.1:7710 --http 127.0.0.1:8081 --admin 127.0.0.1:9091
  usher serve --node n3 --data n3 --join 127.0.0.1:7701 --peer 127.0.0.1:7721 \
      --listen 127.0.0.1:7720 --http 127.0.0.1:8082 --admin 127.0.0.1:9092

Three machines, with certificates of the cluster's own authority between them:

  usher admin certs --dir certs --node n1 --node n2 --node n3
  usher serve --node n1 --peer :7701 --advertise host1.example --bootstrap \
      --peer-ca ca.pem --peer-cert n1.pem --peer-key n1-key.pem
  usher serve --node n2 --peer :7701 --advertise host2.example --join host1.example:7701 \
      --peer-ca ca.pem --peer-cert n2.pem --peer-key n2-key.pem
  usher serve --node n3 --peer :7701 --advertise host3.example --join host1.example:7701 \
      --peer-ca ca.pem --peer-cert n3.pem --peer-key n3-key.pem

and on each of them --listen, --http and --tls-cert as above, for clients.
docs/operations.md has the rest.
`

const (
	// startTimeout bounds the start: stores are opened and the log is replayed.
	startTimeout = 5 * time.Minute
	// stopTimeout bounds finishing what is under way.
	stopTimeout = 20 * time.Second
	// gcPercent is how much the heap may grow between two collections, in percent
	// of what lives, unless GOGC says otherwise. Nearly all that lives is seats and
	// holds without pointers, which cost the collector nothing to pass over, so
	// memory is saved for next to no time.
	gcPercent = 30
)

// serve runs a node until ctx ends.
func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c server.Config
	var join, origins listFlag
	var bootstrap, verbose bool
	f := newFlags("serve")
	f.StringVar(&c.Data, "data", "usher-data", "`directory` of the node's stores")
	f.StringVar(&c.Node, "node", "n1", "`name` of the node, for ever")
	f.StringVar(&c.Listen, "listen", "127.0.0.1:7700", "`address` of the binary protocol, which the Go client speaks; \"off\" for none")
	f.StringVar(&c.HTTP, "http", "127.0.0.1:8080", "`address` of the HTTP API; \"off\" for none")
	f.StringVar(&c.Admin, "admin", "127.0.0.1:9090", "`address` of health, metrics and administration; \"off\" for none")
	f.StringVar(&c.Peer, "peer", "127.0.0.1:7701", "`address` for the other nodes of the cluster")
	f.StringVar(&c.Advertise, "advertise", "", "`host` by which others reach this node, where its addresses have none (the machine's name if not given)")
	f.Var(&join, "join", "--peer `addresses` of nodes whose cluster to enter with an empty data directory, between commas; one of them must be up")
	f.BoolVar(&bootstrap, "bootstrap", false, "make a cluster if the data directory is empty, which is what a node without --join does")
	f.IntVar(&c.Shards, "shards", 0, "`number` of shards of a new cluster (4 if not given)")
	f.IntVar(&c.Replicas, "replicas", 0, "`number` of nodes that each shard of a new cluster is to be on, once there are so many (3 if not given)")
	f.StringVar(&c.PeerCA, "peer-ca", "", "PEM `file` with the cluster's own authority (usher admin certs makes it)")
	f.StringVar(&c.PeerCert, "peer-cert", "", "PEM `file` with this node's certificate for other nodes")
	f.StringVar(&c.PeerKey, "peer-key", "", "PEM `file` with that certificate's private key")
	f.DurationVar(&c.ElectionTimeout, "election-timeout", 0, "`time` without a sign of its leader after which a group elects another, the same on all nodes (600ms if not given)")
	f.StringVar(&c.TLSCert, "tls-cert", "", "PEM `file` with the certificate of all listeners")
	f.StringVar(&c.TLSKey, "tls-key", "", "PEM `file` with the certificate's private key")
	f.StringVar(&c.OperatorKeyFile, "operator-key-file", "", "`file` with an API key that may operate, stored if the cluster has no keys yet")
	f.BoolVar(&c.Insecure, "insecure", false, "listen beyond this machine even without TLS or without API keys")
	f.IntVar(&c.MaxConns, "max-conns", 10_000, "most `connections` of the binary protocol")
	f.IntVar(&c.MaxInFlight, "max-in-flight", 16_384, "most unanswered `requests` of a connection")
	f.IntVar(&c.MaxHTTPConns, "max-http-conns", 10_000, "most `connections` of the HTTP API")
	f.IntVar(&c.MaxHTTPConnsPerIP, "max-http-conns-per-ip", 2000, "most `connections` of the HTTP API from one address")
	f.DurationVar(&c.IdleTimeout, "idle-timeout", 10*time.Minute, "`time` after which a silent connection is closed")
	f.DurationVar(&c.WriteTimeout, "write-timeout", 10*time.Second, "`time` after which a client that does not read its answers is dropped")
	f.Float64Var(&c.LiveCPU, "live-cpu", 0.5, "`cores` that live seat maps may use: beyond it they change less often")
	f.IntVar(&c.MaxSubscribers, "max-subscribers", 60_000, "most `streams` of live seat maps")
	f.IntVar(&c.MaxSubscribersPerEvent, "max-subscribers-per-event", 50_000, "most `streams` of one event")
	f.IntVar(&c.MaxSubscribersPerIP, "max-subscribers-per-ip", 2000, "most `streams` from one address")
	f.Var(&origins, "origins", "`origins` whose pages may read maps and streams in a browser, between commas: https://tickets.example")
	f.BoolVar(&c.Public, "public", false, "serve events, manifests, maps, streams and the waiting room to everybody, without an API key")
	f.Int64Var(&c.SnapshotLogBytes, "snapshot-log-bytes", 64<<20, "`bytes` of log after which a shard takes a snapshot")
	f.BoolVar(&verbose, "verbose", false, "log what is of interest to developers only")
	if err := parse(f, args, aboutServe, stdout); err != nil {
		return err
	}
	if err := noArguments(f); err != nil {
		return err
	}
	if bootstrap && len(join.values) > 0 {
		return usageError{"--bootstrap makes a cluster and --join enters one: give one of them"}
	}
	c.Join, c.Origins = join.values, origins.values
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	c.Log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	return serveNode(ctx, c, stdout)
}

func serveNode(ctx context.Context, c server.Config, stdout io.Writer) error {
	began := time.Now()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	node, err := server.Start(starting, c)
	cancel()
	if mistake, ok := errors.AsType[*server.ConfigError](err); ok {
		return usageError{mistake.Error()}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "usher serves after %v: binary protocol on %s, HTTP on %s, admin on %s, peers on %s, data in %s\n",
		time.Since(began).Round(time.Millisecond), orOff(node.Addr()), orOff(node.HTTPAddr()), orOff(node.AdminAddr()), node.PeerAddr(), c.Data)
	<-ctx.Done()
	fmt.Fprintln(stdout, "usher stops: no new requests; finishing those under way")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	if err := node.Close(stopping); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

func orOff(addr string) string {
	if addr == "" {
		return server.Off
	}
	return addr
}
