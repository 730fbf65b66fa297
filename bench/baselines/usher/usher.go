// Package usher is Usher itself as an inventory: `usher serve` in processes of
// its own, asked through pipes of the Go client.
package usher

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/process"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// Config says which program, and how many of it.
type Config struct {
	Program string // usher
	Data    string // where data directories are made; empty: with temporary files
	Nodes   int    // 1, or a cluster that keeps one shard on all of them
}

// An Inventory is a cluster.
type Inventory struct {
	nodes  []*Node
	client *client.Client
	leader string // address of the node that leads the shard

	mu     sync.Mutex
	events map[int]*client.Event
}

// Start runs nodes and returns when they serve.
func Start(ctx context.Context, c Config) (*Inventory, error) {
	u := &Inventory{events: make(map[int]*client.Event)}
	if err := u.start(ctx, c); err != nil {
		u.Close()
		return nil, err
	}
	return u, nil
}

func (u *Inventory) start(ctx context.Context, c Config) error {
	var addrs []string
	for i := range c.Nodes {
		n, err := NewNode(c.Program, c.Data)
		if err != nil {
			return err
		}
		u.nodes = append(u.nodes, n)
		n.args = append(n.args, "--node", fmt.Sprintf("n%d", i+1))
		if i == 0 {
			n.args = append(n.args, "--shards", "1")
		} else {
			n.args = append(n.args, "--join", u.nodes[0].peer)
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
		addrs = append(addrs, n.Addr)
	}
	if c.Nodes > 1 {
		if err := u.nodes[0].settle(ctx, c.Nodes); err != nil {
			return err
		}
	}
	var err error
	if u.client, err = client.Dial(ctx, addrs, nil); err != nil {
		return err
	}
	u.leader, err = u.findLeader(ctx)
	return err
}

// findLeader asks each node for the map of an event: the others say who leads.
func (u *Inventory) findLeader(ctx context.Context) (string, error) {
	if len(u.nodes) == 1 {
		return u.nodes[0].Addr, nil
	}
	if err := u.Create(ctx, 0, inventory.RowSeats); err != nil {
		return "", err
	}
	for _, n := range u.nodes {
		p, err := client.DialPipe(ctx, n.Addr, nil)
		if err != nil {
			return "", err
		}
		// A read of what is surely decided is for the leader only.
		ref := wire.HoldRef{Event: u.event(0).ID()}
		p.Add(wire.KindGetHold, 0, ref.Append(nil))
		if err := p.Flush(); err != nil {
			return "", err
		}
		h, _, err := p.Next()
		p.Close()
		if err != nil {
			return "", err
		}
		if h.Status != wire.StatusMoved {
			return n.Addr, nil
		}
	}
	return "", fmt.Errorf("none of %d nodes leads the shard", len(u.nodes))
}

// Client is a client of the cluster.
func (u *Inventory) Client() *client.Client { return u.client }

func (u *Inventory) Create(ctx context.Context, event, seats int) error {
	rules := wire.DefaultRules()
	rules.MaxTTL = 24 * 60 * 60_000
	row := make([]wire.Seat, inventory.RowSeats)
	for i := range row {
		row[i].Label = fmt.Sprint(i + 1)
	}
	rows := make([]wire.Row, seats/inventory.RowSeats)
	for i := range rows {
		rows[i] = wire.Row{Name: fmt.Sprint(i + 1), Focal: inventory.RowSeats - 1, Seats: row}
	}
	ev, err := u.client.CreateEvent(ctx, &wire.Manifest{
		Key: u.Key(event), Categories: []string{"standard"},
		Sections: []wire.Section{{Name: "A", Rows: rows}}, Rules: rules,
	})
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.events[event] = ev
	return nil
}

func (u *Inventory) event(n int) *client.Event {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.events[n]
}

// Settle has nothing to do.
func (u *Inventory) Settle(context.Context) error { return nil }

func (u *Inventory) States(answer []byte, seats int) ([]inventory.State, error) {
	var m wire.SeatMap
	if err := m.Decode(answer); err != nil {
		return nil, err
	}
	states := make([]inventory.State, seats)
	for i := range states {
		switch s := m.State(seatID(i)); s {
		case wire.SeatFree:
		case wire.SeatHeld:
			states[i] = inventory.Held
		case wire.SeatBooked:
			states[i] = inventory.Booked
		default:
			return nil, fmt.Errorf("seat %d is %v", i, s)
		}
	}
	return states, nil
}

func (u *Inventory) Find(ctx context.Context, event int, r inventory.Receipt) (inventory.Found, error) {
	id, fence := hold(r.Grant)
	info, err := u.event(event).GetHold(ctx, id)
	if err != nil {
		return inventory.Found{}, err
	}
	if info.Fence != fence {
		return inventory.Found{}, fmt.Errorf("the fence is %d, acknowledged was %d", info.Fence, fence)
	}
	switch info.State {
	case wire.StateHeld:
		return inventory.Found{State: inventory.Held, Seats: indices(info.Held)}, nil
	case wire.StateBooked:
		return inventory.Found{State: inventory.Booked, Seats: indices(info.Booked)}, nil
	}
	return inventory.Found{}, nil
}

func (u *Inventory) CPU() (time.Duration, error) {
	var all []*process.Process
	for _, n := range u.nodes {
		all = append(all, n.process)
	}
	return process.CPU(all...)
}

func (u *Inventory) Close() {
	if u.client != nil {
		u.client.Close()
	}
	for _, n := range u.nodes {
		n.Remove()
	}
}

// Kill ends the first node with SIGKILL.
func (u *Inventory) Kill() { u.nodes[0].Kill() }

// Restart runs it again.
func (u *Inventory) Restart(ctx context.Context) error { return u.nodes[0].Start(ctx) }

// Key is the name of an event that Create has made.
func (u *Inventory) Key(event int) string { return fmt.Sprintf("event-%d", event) }

// Nodes are the processes.
func (u *Inventory) Nodes() []*Node { return u.nodes }

// seatID is the id of an event's i-th seat: rows begin a word of 64.
func seatID(i int) wire.SeatID {
	return wire.SeatID(i/inventory.RowSeats*64 + i%inventory.RowSeats)
}

func indices(list wire.SeatList) []int {
	var seats []int
	for i := range list.Len() {
		s := int(list.At(i))
		seats = append(seats, s/64*inventory.RowSeats+s%64)
	}
	return seats
}

// grant keeps the id and the fence of a hold.
func grant(id wire.ID, f wire.Fence) (g inventory.Grant) {
	for i, b := range id {
		g[i/8] |= uint64(b) << (i % 8 * 8)
	}
	g[2] = uint64(f)
	return g
}

func hold(g inventory.Grant) (id wire.ID, f wire.Fence) {
	for i := range id {
		id[i] = byte(g[i/8] >> (i % 8 * 8))
	}
	return id, wire.Fence(g[2])
}

// Usable says whether the program can be run.
func Usable(program string) error {
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("no usher at %s: run `make build` at the top of the project", filepath.Clean(program))
	}
	return nil
}

// millis is a time to live as requests have it.
func millis(r *inventory.Request) uint32 {
	return uint32(min(r.Life().Milliseconds(), math.MaxUint32))
}
