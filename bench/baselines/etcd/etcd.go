// Package etcd is etcd as an inventory: a key for each seat that is taken, changed
// by transactions, ended by leases.
package etcd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/process"
)

// Config says what to run and where.
type Config struct {
	Program string // etcd
	Data    string // where data directories are made; empty: with temporary files
	Nodes   int
}

// An Inventory is a cluster.
type Inventory struct {
	server *Server
	url    string           // of the leader
	client *clientv3.Client // for set-up, audit and leases
	leases *leases

	mu     sync.Mutex
	events map[int]int // seats by event
}

// Start runs a cluster.
func Start(ctx context.Context, c Config) (*Inventory, error) {
	s, err := StartServer(ctx, c.Program, c.Data, c.Nodes)
	if err != nil {
		return nil, err
	}
	e := &Inventory{server: s, events: make(map[int]int)}
	if e.url, err = s.leader(ctx); err == nil {
		e.client, err = connect(context.WithoutCancel(ctx), []string{e.url})
	}
	if err != nil {
		e.Close()
		return nil, err
	}
	e.leases = &leases{client: e.client, made: make(map[time.Duration]lease)}
	return e, nil
}

// The key of a seat is seatKey, its value the number of the hold; bookedPrefix
// before it, and no lease, once it is booked. Keys have a fixed length, so that
// their order is that of the seats.
const bookedPrefix = "b"

func eventPrefix(event int) string { return fmt.Sprintf("s/%06d/", event) }

func seatKey(event, seat int) string { return fmt.Sprintf("s/%06d/%06d", event, seat) }

func (e *Inventory) Create(_ context.Context, event, seats int) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.events[event] = seats // a free seat is a key that is not there
	return nil
}

func (e *Inventory) seats(event int) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.events[event]
}

// Settle has nothing to do.
func (e *Inventory) Settle(context.Context) error { return nil }

func (e *Inventory) Dial(ctx context.Context) (inventory.Conn, error) {
	c, err := connect(context.WithoutCancel(ctx), []string{e.url})
	if err != nil {
		return nil, err
	}
	return &conn{etcd: e, client: c}, nil
}

// entrySize is the length of a taken seat in an answer to Map: the seat, then
// whether it is booked.
const entrySize = 5

func (e *Inventory) States(answer []byte, seats int) ([]inventory.State, error) {
	states := make([]inventory.State, seats)
	for entry := range slices.Chunk(answer, entrySize) {
		if len(entry) < entrySize {
			return nil, fmt.Errorf("a map that ends in the middle")
		}
		seat := int(binary.LittleEndian.Uint32(entry))
		if seat >= seats {
			return nil, fmt.Errorf("a map with seat %d of %d", seat, seats)
		}
		states[seat] = inventory.State(entry[4])
	}
	return states, nil
}

func stateOf(value []byte) inventory.State {
	if bytes.HasPrefix(value, []byte(bookedPrefix)) {
		return inventory.Booked
	}
	return inventory.Held
}

func (e *Inventory) Find(ctx context.Context, event int, r inventory.Receipt) (inventory.Found, error) {
	var f inventory.Found
	all, err := e.client.Get(ctx, eventPrefix(event), clientv3.WithPrefix())
	if err != nil {
		return f, err
	}
	number := strconv.FormatUint(r.Number, 10)
	for _, kv := range all.Kvs {
		if strings.TrimPrefix(string(kv.Value), bookedPrefix) != number {
			continue
		}
		seat, err := seatOf(kv.Key)
		if err != nil {
			return f, err
		}
		f.State = stateOf(kv.Value)
		f.Seats = append(f.Seats, seat)
	}
	return f, nil
}

func seatOf(key []byte) (int, error) {
	_, number, ok := bytes.Cut(key[min(2, len(key)):], []byte("/"))
	if !ok {
		return 0, fmt.Errorf("a key %q", key)
	}
	return strconv.Atoi(string(number))
}

func (e *Inventory) CPU() (time.Duration, error) { return process.CPU(e.server.processes...) }

func (e *Inventory) Close() {
	if e.client != nil {
		_ = e.client.Close() // the server goes next
	}
	e.server.Remove()
}

// leases are shared: a lease of its own for each hold would be two changes more of
// the log. All holds that begin within leaseStep, with one time to live, have one;
// it lives leaseStep longer, so none ends early.
type leases struct {
	client *clientv3.Client

	mu   sync.Mutex
	made map[time.Duration]lease // by time to live
}

type lease struct {
	id    clientv3.LeaseID
	until time.Time // new holds until then
}

const leaseStep = time.Second

func (l *leases) get(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	if have, ok := l.made[ttl]; ok && now.Before(have.until) {
		return have.id, nil
	}
	// etcd counts in seconds, and knows none shorter than its elections.
	seconds := (ttl + leaseStep + time.Second - 1) / time.Second
	granted, err := l.client.Grant(ctx, int64(seconds))
	if err != nil {
		return 0, fmt.Errorf("grant a lease: %w", err)
	}
	l.made[ttl] = lease{granted.ID, now.Add(leaseStep)}
	return granted.ID, nil
}
