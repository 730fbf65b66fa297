package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/usher-seats/usher/shard"
	"github.com/usher-seats/usher/wire"
)

// backupOf is a backup of all events, or of some.
func backupOf(t testing.TB, n *Node, keys ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	var b bytes.Buffer
	if err := n.writeBackup(ctx, &b, keys); err != nil {
		t.Fatalf("back up: %v", err)
	}
	return b.Bytes()
}

// eventsIn reads a backup and verifies its events, up to the first error.
func eventsIn(backup []byte) (events []*BackupEvent, err error) {
	r, err := OpenBackup(bytes.NewReader(backup))
	for err == nil {
		var e *BackupEvent
		if e, err = r.Next(); err == nil {
			err = e.Verify()
		}
		if err == nil {
			events = append(events, e)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return events, err
}

// wholeBackup is eventsIn for a backup that must be whole.
func wholeBackup(t testing.TB, backup []byte) []*BackupEvent {
	t.Helper()
	events, err := eventsIn(backup)
	if err != nil {
		t.Fatalf("read the backup: %v", err)
	}
	return events
}

// seeded is a source of random numbers whose seed the test's log has.
func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// A crowd makes holds of some events and lets go of them, until it is stopped.
type crowd struct {
	n    *Node
	done atomic.Uint64 // operations that were granted
	stop func()
}

func newCrowd(t *testing.T, n *Node, events ...wire.EventID) *crowd {
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	c := &crowd{n: n, stop: func() { cancel(); work.Wait() }}
	t.Cleanup(c.stop)
	for range 4 {
		rng := seeded(t)
		work.Go(func() {
			for ctx.Err() == nil {
				c.step(ctx, rng, events[rng.IntN(len(events))])
			}
		})
	}
	return c
}

// step makes a hold and does one thing with it.
func (c *crowd) step(ctx context.Context, rng *rand.Rand, event wire.EventID) {
	seat := wire.SeatID(64*rng.IntN(4) + rng.IntN(60))
	hold := wire.Hold{Mutation: c.n.begin(event), TTL: uint32(20 + rng.IntN(5_000)), Seats: wire.MakeSeatList(seat, seat^1)}
	s, body := c.n.do(ctx, wire.Record{Kind: wire.KindHold, Body: hold.Append(nil)})
	var granted wire.Granted
	if s != wire.StatusOK || granted.Decode(body) != nil {
		return
	}
	c.done.Add(1)
	on := wire.OnHold{Mutation: wire.Mutation{Event: event, ID: hold.ID}, Fence: granted.Fence}
	b := on.Append(nil)
	switch rng.IntN(4) {
	case 0:
		c.n.do(ctx, wire.Record{Kind: wire.KindConfirm, Body: b})
		cancel := wire.Cancel{Mutation: c.n.begin(event), Booking: hold.ID}
		c.n.do(ctx, wire.Record{Kind: wire.KindCancel, Body: cancel.Append(nil)})
	case 1:
		c.n.do(ctx, wire.Record{Kind: wire.KindRelease, Body: b})
	}
}

// replayed is the hash of an event in a shard that goes through a log up to an
// entry; ok is false if it has no such event then.
func replayed(t *testing.T, g *group, id wire.EventID, index uint64) (hash uint64, ok bool) {
	t.Helper()
	s := shard.New(shard.Config{})
	if err := s.Start(0, 0); err != nil {
		t.Fatal(err)
	}
	err := g.log.Entries(0, min(index, g.log.Stats().Applied), func(index uint64, stamp wire.Millis, ops []byte) error {
		s.Apply(index, stamp, ops, nil)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	image, ok := s.AppendImage(nil, id)
	if !ok {
		return 0, false
	}
	info, err := shard.CheckImage(image)
	if err != nil {
		t.Fatal(err)
	}
	return info.Hash, true
}

// TestBackupUnderLoad proves that each event in a backup is what the state machine
// was after one entry of its log, while the events are being sold, and while they
// move from shard to shard.
func TestBackupUnderLoad(t *testing.T) {
	n := startNode(t, func(c *Config) { c.Shards = 3 })
	ids := map[string]wire.EventID{}
	for _, key := range []string{"a", "b", "c", "d"} {
		ids[key] = openHall(t, n, hall(key, 4, 64))
	}
	c := newCrowd(t, n, ids["a"], ids["b"], ids["c"], ids["d"])
	var last []*BackupEvent
	for round := range 6 {
		before := c.done.Load()
		until(t, "somebody sells", func() bool { return c.done.Load() > before+50 })
		if round%2 == 1 {
			e := n.table().Find("b")
			op := wire.Move{Mutation: n.begin(0), To: e.Shard%3 + 1}
			op.Event = e.ID
			if a := n.insist(t.Context(), 0, signedBy("", wire.Record{Kind: wire.KindMove, Body: op.Append(nil)})); a.status != wire.StatusOK {
				t.Fatalf("move: %v %s", a.status, a.body)
			}
		}
		events := wholeBackup(t, backupOf(t, n))
		if len(events) != 4 {
			t.Fatalf("%d events backed up, want 4", len(events))
		}
		for i, e := range events {
			found := false
			for g := range n.groups.Load().shards {
				hash, ok := replayed(t, g, ids[e.Key], e.Index)
				found = found || ok && hash == e.Hash
			}
			if !found {
				t.Errorf("round %d: event %q has the hash %x at entry %d, and had it in no shard", round, e.Key, e.Hash, e.Index)
			}
			if last != nil && e.Version <= last[i].Version {
				t.Errorf("round %d: event %q has not changed since the backup before", round, e.Key)
			}
		}
		last = events
	}
}

// TestBackupChosen proves which events a backup has, also when they come and go.
func TestBackupChosen(t *testing.T) {
	n := startNode(t, nil)
	for _, key := range []string{"b", "a", "c"} {
		openHall(t, n, hall(key, 1, 10))
	}
	// A creation that was given up after its first step is no event.
	assign := wire.Assign{Mutation: n.begin(0), Key: []byte("aa")}
	if s, body := n.do(t.Context(), wire.Record{Kind: wire.KindAssign, Body: assign.Append(nil)}); s != wire.StatusOK {
		t.Fatalf("assign: %v %s", s, body)
	}
	keys := func(chosen ...string) (keys string) {
		t.Helper()
		for _, e := range wholeBackup(t, backupOf(t, n, chosen...)) {
			keys += " " + e.Key
		}
		return keys
	}
	if got := keys(); got != " a b c" {
		t.Errorf("all:%s", got)
	}
	if got := keys("a", "c"); got != " a c" {
		t.Errorf("two:%s", got)
	}
	if s, text := n.deleteEvent(t.Context(), "a"); s != wire.StatusOK {
		t.Fatalf("delete: %v %s", s, text)
	}
	if got := keys("a", "c"); got != " c" {
		t.Errorf("two, of which one is deleted:%s", got)
	}
}

// TestBackupDamage proves that a backup in which any bit is wrong, or which ends
// anywhere, is noticed before what is wrong is handed out.
func TestBackupDamage(t *testing.T) {
	n := startNode(t, nil)
	id := openHall(t, n, hall("a", 2, 10))
	openHall(t, n, hall("b", 1, 10))
	rng := seeded(t)
	c := &crowd{n: n}
	for range 20 {
		c.step(t.Context(), rng, id)
	}
	backup := backupOf(t, n)
	whole := wholeBackup(t, backup)
	check := func(what string, damaged []byte) {
		t.Helper()
		events, err := eventsIn(damaged)
		if err == nil {
			t.Fatalf("%s: not noticed", what)
		}
		if len(events) > len(whole) {
			t.Fatalf("%s: %d events", what, len(events))
		}
		for i, e := range events {
			if e.Key != whole[i].Key || e.Hash != whole[i].Hash || !bytes.Equal(e.packed, whole[i].packed) {
				t.Fatalf("%s: event %q is not what it was", what, e.Key)
			}
		}
	}
	t.Logf("%d bytes", len(backup))
	for at := range backup {
		damaged := slices.Clone(backup)
		damaged[at] ^= 1 << rng.IntN(8)
		check(fmt.Sprintf("bit of byte %d", at), damaged)
		check(fmt.Sprintf("cut at byte %d", at), backup[:at])
	}
	check("goes on", append(slices.Clone(backup), 0))
	for range 100 {
		from, to := rng.IntN(len(backup)), rng.IntN(len(backup))
		if from > to {
			from, to = to, from
		}
		if from < to {
			check(fmt.Sprintf("bytes %d to %d are missing", from, to), slices.Concat(backup[:from], backup[to:]))
			check(fmt.Sprintf("bytes %d to %d come twice", from, to), slices.Concat(backup[:to], backup[from:]))
		}
	}
}

// mended is a backup whose sums are made right wherever a reader looks for them, so
// that it is not only stopped by them.
func mended(b []byte) []byte {
	b = slices.Clone(b)
	at := 0
	sum := func() bool {
		if at+8 > len(b) {
			return false
		}
		binary.LittleEndian.PutUint64(b[at:], xxhash.Sum64(b[:at]))
		at += 8
		return true
	}
	at = len(backupMagic) + 16 + 8
	for sum() && at < len(b) {
		if b[at] != tagEvent || at+2 > len(b) {
			at += 1 + 4
			continue
		}
		at += 2 + int(b[at+1]) + factsSize + 8
		if at > len(b) {
			break
		}
		packed := int(binary.LittleEndian.Uint32(b[at-4:]))
		if !sum() {
			break
		}
		at += packed
	}
	return b
}

// FuzzBackup looks for bytes that make the reader fail in another way than by an
// error, or take for a backup what no writer has written.
func FuzzBackup(f *testing.F) {
	n := startNode(f, nil)
	openHall(f, n, hall("a", 1, 10))
	openHall(f, n, hall("b", 1, 10))
	backup := backupOf(f, n)
	f.Add(backup, true)
	f.Add(backup[:len(backup)/2], true)
	f.Add(backupOf(f, n, "b"), false)
	f.Add([]byte(backupMagic), false)
	f.Fuzz(func(t *testing.T, b []byte, mend bool) {
		if mend {
			b = mended(b)
		}
		events, err := eventsIn(b)
		if err != nil {
			return
		}
		var again bytes.Buffer
		r, err := OpenBackup(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		w, err := newBackupWriter(&again, r.Cluster, r.Began)
		for _, e := range events {
			err = errors.Join(err, w.event(e))
		}
		if err = errors.Join(err, w.end()); err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("what was read is written as something else, error %v", err)
		}
	})
}

// TestImageFetched proves that an image comes from another node as it is there, in
// one piece or in several, and that a node gives none that it should not.
func TestImageFetched(t *testing.T) {
	n := startNode(t, nil)
	id := openHall(t, n, hall("a", 2, 10))
	at := n.table().Event(id).Shard
	calls := 0
	call := func(ctx context.Context, body []byte) ([]byte, error) {
		calls++
		return n.serveCall(ctx, n.hello(), body)
	}
	p, a := fetchImage(t.Context(), call, at, id)
	if a.status != wire.StatusOK || calls != 1 {
		t.Fatalf("%v %s in %d calls", a.status, a.body, calls)
	}
	if e, err := newBackupEvent(p); err != nil || e.Key != "a" {
		t.Fatalf("the image: %v", err)
	}
	for _, test := range []struct {
		what  string
		shard uint32
		event wire.EventID
		want  wire.Status
	}{
		{"another shard", at%4 + 1, id, wire.StatusUnknownEvent},
		{"no shard", 99, id, wire.StatusMoved},
		{"the directory", 0, id, wire.StatusMoved},
		{"no event", at, 99, wire.StatusUnknownEvent},
	} {
		if _, a := fetchImage(t.Context(), call, test.shard, test.event); a.status != test.want {
			t.Errorf("%s: %v %s, want %v", test.what, a.status, a.body, test.want)
		}
	}
	if _, err := n.serveCall(t.Context(), n.hello(), []byte{callImage, 1}); err == nil {
		t.Error("a call that is too short is answered")
	}
	if busy, kept := n.backups.images.count(); busy != 0 || kept != 0 {
		t.Error("an image is kept that nobody fetches")
	}

	// One that is about to leave may go on elsewhere already.
	freeze := wire.Freeze{Mutation: wire.Mutation{Event: id}, Number: 1 << 40}
	if a := n.insist(t.Context(), at, wire.Record{Kind: wire.KindFreeze, Body: freeze.Append(nil)}); a.status != wire.StatusOK {
		t.Fatalf("freeze: %v %s", a.status, a.body)
	}
	if _, a := fetchImage(t.Context(), call, at, id); a.status != wire.StatusMoved {
		t.Errorf("a frozen event: %v, want moved", a.status)
	}
}

// count is how much room is taken, and how many images are kept.
func (k *keptImages) count() (busy, kept int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.busy, len(k.of)
}

// TestKeptImages proves that images are kept while they are being fetched, that there
// are not more than so many, and that they go by themselves.
func TestKeptImages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k keptImages
		p := packedImage{packed: make([]byte, 2*maxPiece+7), size: 9}
		for i := range p.packed {
			p.packed[i] = byte(i ^ i>>8)
		}
		serve := func(_ context.Context, body []byte) ([]byte, error) {
			var c imageCall
			if err := c.decode(body); err != nil {
				return nil, err
			}
			if c.copied != 0 {
				return k.piece(&c).append(nil), nil
			}
			if !k.enter() {
				return (&imageAnswer{status: wire.StatusOverloaded}).append(nil), nil
			}
			return k.keep(c.event, p).append(nil), nil
		}
		got, a := fetchImage(t.Context(), serve, 1, 7)
		if a.status != wire.StatusOK || got.size != p.size || !bytes.Equal(got.packed, p.packed) {
			t.Fatalf("%v, %d bytes of %d", a.status, len(got.packed), len(p.packed))
		}
		if busy, kept := k.count(); busy != 0 || kept != 0 {
			t.Fatal("the image is kept although it was fetched")
		}

		var first imageAnswer
		for range maxKeptImages {
			reply, _ := serve(t.Context(), (&imageCall{event: 7}).append(nil))
			if err := first.decode(reply); err != nil || first.status != wire.StatusOK {
				t.Fatalf("%v %v", first.status, err)
			}
		}
		if _, a := fetchImage(t.Context(), serve, 1, 7); a.status != wire.StatusOverloaded {
			t.Errorf("one image too many: %v", a.status)
		}
		for _, c := range []imageCall{
			{event: 8, copied: first.copied, offset: maxPiece},
			{event: 7, copied: first.copied ^ 1, offset: maxPiece},
			{event: 7, copied: first.copied, offset: uint32(len(p.packed)) + 1},
		} {
			if a := k.piece(&c); a.status != wire.StatusUnavailable {
				t.Errorf("%+v: %v", c, a.status)
			}
		}
		time.Sleep(keptFor - 1)
		if a := k.piece(&imageCall{event: 7, copied: first.copied, offset: maxPiece}); a.status != wire.StatusOK {
			t.Errorf("a piece in time: %v", a.status)
		}
		time.Sleep(1)
		synctest.Wait()
		if busy, kept := k.count(); busy != 1 || kept != 1 {
			t.Errorf("%d images are kept, want the one that is being fetched", kept)
		}
		time.Sleep(keptFor)
		synctest.Wait()
		if busy, kept := k.count(); busy != 0 || kept != 0 {
			t.Errorf("%d images are kept that nobody fetches", kept)
		}
	})
}
