package soak

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/usher-seats/usher/internal/proc"
)

// wires are the networks of a cluster's nodes: each lives in a network namespace
// of its own, with a cable to the bridge of the nodes and one to that of the
// clients, which this machine is on too. Owned by the test.
type wires struct {
	t    *testing.T
	name string // of everything, with a letter and a number behind it
}

// layWires makes the networks for so many nodes, and the places in them. Their end
// is the test's. It skips the test where that cannot be done.
func layWires(t *testing.T, nodes int, args ...string) (*wires, []*proc.Place) {
	t.Helper()
	w := &wires{t: t, name: fmt.Sprintf("us%d", os.Getpid())}
	if out, err := exec.Command("ip", "netns", "add", w.name+"t").CombinedOutput(); err != nil {
		t.Skipf("network namespaces cannot be made here, which takes root and iproute2: ip netns add: %v %s", err, out)
	}
	w.try("netns", "del", w.name+"t")
	clients, peers := freeNet(t)
	t.Cleanup(func() {
		for i := range nodes {
			w.try("netns", "del", w.space(i)) // its cables go with it
		}
		w.try("link", "del", w.name+"bc")
		w.try("link", "del", w.name+"bp")
	})
	for _, bridge := range []string{"bc", "bp"} {
		w.do("link", "add", w.name+bridge, "type", "bridge")
		w.do("link", "set", w.name+bridge, "up")
	}
	w.do("addr", "add", clients+"254/24", "dev", w.name+"bc")
	var places []*proc.Place
	for i := range nodes {
		w.do("netns", "add", w.space(i))
		w.do("-n", w.space(i), "link", "set", "lo", "up")
		w.cable(i, "c", clients)
		w.cable(i, "p", peers)
		p := proc.NewPlaceAt(t, fmt.Sprint(clients, i+1), fmt.Sprint(peers, i+1), append([]string{"--insecure"}, args...)...)
		p.Under = []string{"ip", "netns", "exec", w.space(i)}
		places = append(places, p)
	}
	return w, places
}

// freeNet finds two networks below 10.77 that this machine has no address in.
func freeNet(t *testing.T) (clients, peers string) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 120 {
		n := 2 * ((os.Getpid() + i) % 120)
		clients, peers = fmt.Sprintf("10.77.%d.", n), fmt.Sprintf("10.77.%d.", n+1)
		used := false
		for _, a := range addrs {
			used = used || strings.HasPrefix(a.String(), clients)
		}
		if !used {
			return clients, peers
		}
	}
	t.Fatal("all networks below 10.77 are in use")
	return "", ""
}

func (w *wires) space(i int) string { return fmt.Sprintf("%sn%d", w.name, i+1) }

// cable connects a node to a bridge.
func (w *wires) cable(i int, kind, net string) {
	w.t.Helper()
	here := fmt.Sprintf("%s%s%d", w.name, kind, i+1)
	w.do("link", "add", here, "type", "veth", "peer", "name", kind+"0", "netns", w.space(i))
	w.do("link", "set", here, "master", w.name+"b"+kind)
	w.do("link", "set", here, "up")
	w.do("-n", w.space(i), "addr", "add", fmt.Sprintf("%s%d/24", net, i+1), "dev", kind+"0")
	w.do("-n", w.space(i), "link", "set", kind+"0", "up")
}

// cut takes the cable between a node and the others out, heal puts it in again.
// Nobody is told: what is sent meanwhile is lost.
func (w *wires) cut(i int) {
	w.t.Helper()
	w.do("link", "set", fmt.Sprintf("%sp%d", w.name, i+1), "down")
}

func (w *wires) heal(i int) {
	w.t.Helper()
	w.do("link", "set", fmt.Sprintf("%sp%d", w.name, i+1), "up")
}

func (w *wires) do(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v %s", strings.Join(args, " "), err, out)
	}
}

// try is do where it does not matter whether it works: what is to go may not be
// there.
func (w *wires) try(args ...string) { _ = exec.Command("ip", args...).Run() }
