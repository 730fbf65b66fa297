package soak

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/internal/proc"
	"github.com/usher-seats/usher/wire"
)

// makeCerts has `usher admin certs` certify nodes with an authority of their own.
func makeCerts(t *testing.T, nodes ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	args := []string{"admin", "certs", "--dir", dir}
	for _, n := range nodes {
		args = append(args, "--node", n)
	}
	if out, err := proc.Command(t, args...).CombinedOutput(); err != nil {
		t.Fatalf("usher %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return dir
}

// peerTLS are the flags of a node that shows the certificate of a node.
func peerTLS(dir, node string) []string {
	return []string{
		"--peer-ca", filepath.Join(dir, "ca.pem"),
		"--peer-cert", filepath.Join(dir, node+".pem"), "--peer-key", filepath.Join(dir, node+"-key.pem"),
	}
}

// testClusterSecurity makes a cluster of three whose nodes know each other by
// certificates, and has others knock: with certificates of another authority, with
// none, with those of another node, and a node of another cluster. Each is refused,
// and both sides log one clear line.
func testClusterSecurity(t *testing.T) {
	certs := makeCerts(t, "n1", "n2", "n3", "n4")
	foreign := makeCerts(t, "n3", "n4")
	var places []*proc.Place
	for _, n := range []string{"n1", "n2", "n3"} {
		places = append(places, proc.NewPlace(t, peerTLS(certs, n)...))
	}
	cl := proc.Found(t, places, nil)
	c := dialAll(t, cl)
	h := newHouse(t, c, "secure")
	if _, err := h.event.Hold(t.Context(), client.HoldRequest{Seats: []wire.SeatID{1}}); err != nil {
		t.Fatal(err)
	}
	join := []string{"--node", "n4", "--join", cl.Nodes[0].Peer}
	for _, k := range []struct {
		who   string
		flags []string
		says  string // in the log of the stranger
		heard string // in that of the node
	}{
		{"another authority", append(peerTLS(foreign, "n4"), join...), "cannot join", "certificate"},
		{"no certificate", join, "no certificate between nodes", "no certificate between nodes"},
		{"another node's certificate", append(peerTLS(certs, "n2"), join...), "cannot join", "n2"},
	} {
		mark := len(cl.Nodes[0].Output())
		stranger := proc.NewPlace(t, k.flags...).Launch(t)
		heard := awaitLine(t, cl.Nodes[0], mark, k.heard)
		says := knocks(t, stranger, k.says)
		t.Logf("%s:\n  the node says: %s\n  the stranger says: %s", k.who, heard, says)
		stranger.Kill()
		if v := cl.View(); len(v.Nodes) != 3 {
			t.Fatalf("%s: the cluster has %d nodes", k.who, len(v.Nodes))
		}
	}

	// Somebody else's node at the address of n3, certified by the same authority.
	cl.Kill(2)
	mark := len(cl.Nodes[0].Output())
	other := cl.Places[2].Instead(t, append(peerTLS(certs, "n3"), "--node", "n3")...).Launch(t)
	other.AwaitReady()
	t.Logf("another cluster:\n  the node says: %s\n  the stranger says: %s",
		awaitLine(t, cl.Nodes[0], mark, "cluster"), awaitLine(t, other, 0, "cluster"))
	other.Kill()
	cl.Start(2)
	cl.AwaitSettled()
	if _, err := h.event.Hold(t.Context(), client.HoldRequest{Seats: []wire.SeatID{2}}); err != nil {
		t.Fatal(err)
	}
	cl.StopAll()
}

// lineWithin is how long a refusal may take to be in a log.
const lineWithin = 15 * time.Second

// awaitLine waits for a line with a word in what a node logs after mark.
func awaitLine(t *testing.T, n *proc.Node, mark int, word string) string {
	t.Helper()
	for end := time.Now().Add(lineWithin); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		for line := range strings.Lines(n.Output()[mark:]) {
			if strings.Contains(line, word) && !strings.HasPrefix(line, "usher serves") {
				return strings.TrimSpace(line)
			}
		}
	}
	t.Errorf("no line with %q; what there is:\n%s", word, n.Output()[mark:])
	return "nothing"
}

// knocks waits until a node that is not let in says so, in its log or at its end.
func knocks(t *testing.T, n *proc.Node, word string) string {
	t.Helper()
	if n.Ended() {
		return strings.TrimSpace(n.Output())
	}
	return awaitLine(t, n, 0, word)
}
