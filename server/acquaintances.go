package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/usher-seats/usher/server/directory"
	"github.com/usher-seats/usher/wire"
)

// acquaintances are the nodes that a node has heard of last, in a file of its
// data directory. The directory knows them too, but a replica of it that was just
// started does not know how much of its log is decided until it has talked to the
// others: if all nodes have died, somebody must know where they were. Who is at an
// address is checked when they talk. Immutable.
type acquaintances struct {
	Cluster wire.ID           `json:"cluster"`
	Version uint64            `json:"version"` // of the directory that said so
	Peers   map[string]string `json:"peers"`   // address for other nodes, by node
}

const acquaintancesFile = "nodes.json"

// readAcquaintances reads what the node knew before; a node that is new knows
// nobody.
func readAcquaintances(dir string) (*acquaintances, error) {
	path := filepath.Join(dir, acquaintancesFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return new(acquaintances), nil
	}
	if err != nil {
		return nil, err
	}
	a := new(acquaintances)
	if err := json.Unmarshal(text, a); err != nil {
		return nil, fmt.Errorf("read %s (remove it if it is damaged; it is written anew when the node has found another one of its cluster): %w", path, err)
	}
	return a, nil
}

// acquaint notes what the directory says of the nodes, if that is news.
func (n *Node) acquaint(t *directory.Table) error {
	old := n.acquainted.Load()
	a := &acquaintances{Cluster: t.Cluster(), Version: t.Version(), Peers: make(map[string]string)}
	changed := old.Cluster != a.Cluster || len(old.Peers) != len(t.Nodes())
	for _, node := range t.Nodes() {
		a.Peers[node.Name] = node.Peer
		changed = changed || old.Peers[node.Name] != node.Peer
	}
	if !changed || t.Version() < old.Version {
		return nil
	}
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := replaceFile(filepath.Join(n.cfg.Data, acquaintancesFile), text); err != nil {
		return err
	}
	n.acquainted.Store(a)
	return nil
}

// replaceFile writes a file that is there as a whole or as it was, whenever the
// power goes.
func replaceFile(path string, text []byte) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
