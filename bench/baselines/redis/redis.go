// Package redis is Redis with Lua scripts as an inventory, in two designs: bitmaps
// (see bitmaps.go) and a key for each seat (see keys.go).
package redis

import (
	"context"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/process"
)

//go:embed lua/*.lua
var scripts embed.FS

// A Design is how seats are kept.
type Design uint8

const (
	// Bitmaps has a bit for each seat of an event, and a sorted set of its holds.
	Bitmaps Design = iota + 1
	// Keys has a key for each seat that is taken, which Redis itself ends.
	Keys
)

// Config says what to run and where.
type Config struct {
	Program    string // redis-server
	Data       string // where data directories are made; empty: with temporary files
	Design     Design
	Durability Durability
}

// An Inventory is a server with the scripts of its design.
type Inventory struct {
	design Design
	server *Server
	client rueidis.Client    // for set-up, audit and expiry
	shas   map[string]string // of the scripts, by name; immutable

	stop    context.CancelFunc // ends the sweeper
	sweeper sync.WaitGroup

	mu     sync.Mutex
	events map[int]*event
}

// An event is the names of its keys. Immutable.
type event struct {
	seats                        int
	seatMap, due, bookings, fits string   // Bitmaps
	prefix                       string   // Keys: of every seat's key
	keys                         []string // Keys: by seat
}

// Start runs a server.
func Start(ctx context.Context, c Config) (*Inventory, error) {
	s, err := NewServer(c.Program, c.Data, c.Durability)
	if err != nil {
		return nil, err
	}
	r := &Inventory{design: c.Design, server: s, events: make(map[int]*event)}
	if err := s.Start(ctx); err != nil {
		r.Close()
		return nil, err
	}
	if err := r.prepare(ctx); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

func (r *Inventory) prepare(ctx context.Context) error {
	var err error
	if r.client, err = r.server.Client(); err != nil {
		return err
	}
	if r.shas, err = loadScripts(ctx, r.client); err != nil {
		return err
	}
	if r.design == Bitmaps {
		ctx, r.stop = context.WithCancel(context.WithoutCancel(ctx))
		r.sweeper.Go(func() { r.sweep(ctx) })
	}
	return nil
}

// loadScripts makes the server know all scripts by their hashes.
func loadScripts(ctx context.Context, c rueidis.Client) (map[string]string, error) {
	files, err := scripts.ReadDir("lua")
	if err != nil {
		return nil, err
	}
	shas := make(map[string]string)
	for _, f := range files {
		text, err := scripts.ReadFile("lua/" + f.Name())
		if err != nil {
			return nil, err
		}
		if err := c.Do(ctx, c.B().ScriptLoad().Script(string(text)).Build()).Error(); err != nil {
			return nil, fmt.Errorf("load %s: %w", f.Name(), err)
		}
		sum := sha1.Sum(text)
		shas[f.Name()] = hex.EncodeToString(sum[:])
	}
	return shas, nil
}

// sweepEvery is between two looks for holds that are due: as often as Usher looks.
const sweepEvery = 50 * time.Millisecond

// sweep ends the holds of all events that are due.
func (r *Inventory) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		r.mu.Lock()
		var all rueidis.Commands
		for _, e := range r.events {
			all = append(all, r.client.B().Evalsha().Sha1(r.shas["bitmap_expire.lua"]).Numkeys(3).Key(e.due, e.seatMap, e.fits).Build())
		}
		r.mu.Unlock()
		// What fails now is swept the next time.
		_ = r.client.DoMulti(ctx, all...)
	}
}

// Kill ends the server with SIGKILL.
func (r *Inventory) Kill() { r.server.Kill() }

// Restart runs it again with what it had on disk. Connections are to be made anew.
func (r *Inventory) Restart(ctx context.Context) error {
	if err := r.server.Start(ctx); err != nil {
		return err
	}
	_, err := loadScripts(ctx, r.client)
	return err
}

func (r *Inventory) Create(ctx context.Context, n, seats int) error {
	e := newEvent(n, seats, r.design)
	if r.design == Bitmaps {
		if err := e.create(ctx, r.client); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events[n] = e
	return nil
}

func newEvent(n, seats int, d Design) *event {
	name := func(part string) string { return fmt.Sprintf("{%d}%s", n, part) }
	e := &event{seats: seats}
	if d == Bitmaps {
		e.seatMap, e.due, e.bookings, e.fits = name("m"), name("d"), name("k"), name("f")
		return e
	}
	e.prefix = name("s")
	e.keys = make([]string, seats)
	for i := range e.keys {
		e.keys[i] = fmt.Sprint(e.prefix, i)
	}
	return e
}

func (r *Inventory) event(n int) *event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[n]
}

// Settle has nothing to do.
func (r *Inventory) Settle(context.Context) error { return nil }

func (r *Inventory) Dial(context.Context) (inventory.Conn, error) {
	c, err := r.server.Client()
	if err != nil {
		return nil, err
	}
	return &conn{redis: r, client: c}, nil
}

func (r *Inventory) States(answer []byte, seats int) ([]inventory.State, error) {
	if r.design == Bitmaps {
		return bitmapStates(answer, seats)
	}
	return keyStates(answer, seats)
}

func (r *Inventory) Find(ctx context.Context, n int, p inventory.Receipt) (inventory.Found, error) {
	if r.design == Bitmaps {
		return r.findInBitmaps(ctx, r.event(n), p)
	}
	return r.findInKeys(ctx, r.event(n), p)
}

func (r *Inventory) CPU() (time.Duration, error) { return process.CPU(r.server.process) }

func (r *Inventory) Close() {
	if r.stop != nil {
		r.stop()
		r.sweeper.Wait()
	}
	if r.client != nil {
		r.client.Close()
	}
	r.server.Remove()
}

// A conn is a connection with one pipeline at a time.
type conn struct {
	redis    *Inventory
	client   rueidis.Client
	commands rueidis.Commands
	maps     [][]byte // Keys: answers to Map of the last Do
}

func (c *conn) Close() { c.client.Close() }

// Do sends all commands at once and reads their answers.
func (c *conn) Do(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	c.commands = c.commands[:0]
	for i := range requests {
		r := &requests[i]
		e := c.redis.event(r.Event)
		if c.redis.design == Bitmaps {
			c.commands = append(c.commands, c.bitmapCommand(e, r))
		} else {
			c.commands = append(c.commands, c.keyCommand(e, r))
		}
	}
	for i, result := range c.client.DoMulti(ctx, c.commands...) {
		if err := c.take(i, &requests[i], result, &answers[i]); err != nil {
			return fmt.Errorf("event %d, operation %d: %w", requests[i].Event, requests[i].Op, err)
		}
	}
	return nil
}

// eval calls a script by its hash.
func (c *conn) eval(script string, keys, args, more []string) rueidis.Completed {
	return c.client.B().Arbitrary("EVALSHA", c.redis.shas[script], strconv.Itoa(len(keys))).
		Keys(keys...).Args(args...).Args(more...).Build()
}

// take makes an answer of a result.
func (c *conn) take(i int, r *inventory.Request, result rueidis.RedisResult, a *inventory.Answer) error {
	if r.Op == inventory.Map {
		var err error
		a.Status = inventory.OK
		if c.redis.design == Bitmaps {
			a.Map, err = result.AsBytes()
			return err
		}
		for len(c.maps) <= i {
			c.maps = append(c.maps, nil)
		}
		c.maps[i], err = appendKeys(c.maps[i][:0], result)
		a.Map = c.maps[i]
		return err
	}
	n, err := result.AsInt64()
	switch {
	case err != nil:
		return err
	case r.Op == inventory.Best && n >= 0:
		first := int(n)
		if c.redis.design == Bitmaps {
			first = seatAt(first)
		}
		for s := first; s < first+r.Count; s++ {
			a.Seats = append(a.Seats, s)
		}
		a.Status = inventory.OK
	case r.Op == inventory.Best:
		a.Status = inventory.Taken
	case n == 1:
		a.Status = inventory.OK
	case r.Op == inventory.Hold:
		a.Status = inventory.Taken
	default:
		a.Status = inventory.Gone
	}
	return nil
}

// found is a hold with all the seats of its receipt.
func found(s inventory.State, p inventory.Receipt) inventory.Found {
	return inventory.Found{State: s, Seats: slices.Clone(p.Seats)}
}
