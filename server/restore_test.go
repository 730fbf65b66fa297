package server

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// newBackupSite is a site that several tests may have at a time.
func newBackupSite(t *testing.T, edit func(*Config)) *site {
	return newSite(t, func(c *Config) {
		c.Peer = "127.0.0.1:0"
		if edit != nil {
			edit(c)
		}
	})
}

// backUp asks for a backup of all events, or of some.
func (s *site) backUp(keys ...string) string {
	s.t.Helper()
	return string(s.post("/admin/backup", obj{"events": append([]string{}, keys...)}).ok(200).raw)
}

// bringBack asks for all events of a backup, or for some.
func (s *site) bringBack(backup string, keys ...string) *answer {
	s.t.Helper()
	return s.do(call{
		method: "POST", url: s.admin + restorePath + "?" + url.Values{"event": keys}.Encode(),
		body: backup, header: map[string]string{"Content-Type": packedMedia},
	})
}

// results are the events of an answer and what has become of them.
func (a *answer) results() string {
	a.t.Helper()
	var out restoreAnswer
	if err := json.Unmarshal(a.raw, &out); err != nil {
		a.t.Fatalf("%s: %v: %s", a.what, err, a.raw)
	}
	var b strings.Builder
	for i, e := range out.Events {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(e.Key + ":" + e.Result)
	}
	return b.String()
}

// versionOf is an event's version as HTTP tells it.
func (s *site) versionOf(event string) wire.Version {
	s.t.Helper()
	v, err := strconv.ParseUint(s.get(event).ok(200).str("version"), 10, 64)
	if err != nil {
		s.t.Fatal(err)
	}
	return wire.Version(v)
}

// A told is a hold as HTTP tells of it, without what changes by itself.
type told struct {
	path, fence string
	state       string
	held        string
	booked      string
}

func (s *site) tell(hold string) told {
	s.t.Helper()
	a := s.get(hold).ok(200)
	return told{hold, a.str("fence"), a.str("state"), a.list("held"), a.list("booked")}
}

// TestRestore takes an event with holds in all states, which is being sold, into
// another cluster: every hold is there, with the time it had left, and can go on;
// requests from before get their first answers; versions are of a new epoch.
func TestRestore(t *testing.T) {
	s := newBackupSite(t, nil)
	e := s.event("gala", 4, obj{"seats_per_buyer": 9})
	s.event("other", 1, nil)
	s.post(e+"/channels", obj{"name": "fans", "key": "secret", "section": "B", "row": "4"}).ok(200)
	s.post(e+"/block", obj{"section": "B", "row": "3"}).ok(200)

	hold := func(body obj) (string, obj) {
		t.Helper()
		a := s.post(e+"/holds", body).ok(201)
		return e + "/holds/" + a.str("id"), obj{"fence": a.str("fence")}
	}
	held, heldFence := hold(obj{"seats": []string{"A-1-1", "A-1-2"}, "buyer": "ada"})
	paying, payFence := hold(obj{"best": obj{"count": 3, "section": "B"}})
	s.post(paying+"/pay", payFence).ok(200)
	partly, partFence := hold(obj{"seats": []string{"A-2-1", "A-2-2"}})
	s.post(partly+"/confirm", obj{"fence": partFence["fence"], "seats": []string{"A-2-1"}}).ok(200)
	booked, bookedFence := hold(obj{"area": "Floor", "count": 4})
	s.post(booked+"/confirm", bookedFence).ok(200)
	swapped, swapFence := hold(obj{"seats": []string{"A-2-5"}})
	s.post(swapped+"/confirm", swapFence).ok(200)
	s.post(strings.Replace(swapped, "/holds/", "/bookings/", 1)+"/exchange", obj{"give": []string{"A-2-5"}, "take": []string{"A-2-6"}}).ok(200)
	released, releaseFence := hold(obj{"seats": []string{"A-3-1"}})
	s.post(released+"/release", releaseFence).ok(200)
	cancelled, cancelFence := hold(obj{"seats": []string{"A-3-2"}})
	s.post(cancelled+"/confirm", cancelFence).ok(200)
	s.post(strings.Replace(cancelled, "/holds/", "/bookings/", 1)+"/cancel", obj{}).ok(200)
	expired, expiredFence := hold(obj{"seats": []string{"A-3-3"}, "ttl_ms": 1})
	until(t, "a hold expires", func() bool { return s.get(expired).str("state") == "expired" })
	again := obj{"seats": []string{"A-4-1"}, "id": s.timedID(e, 0)}
	repeated, repeatedFence := hold(again)
	brief, briefFence := hold(obj{"seats": []string{"A-1-3"}, "ttl_ms": 4_000})
	left := s.get(brief).num("expires_in_ms")

	var before []told
	for _, h := range []string{held, brief, paying, partly, booked, swapped, released, cancelled, expired, repeated} {
		before = append(before, s.tell(h))
	}
	counts, old := s.get(e).json["counts"], s.versionOf(e)
	backup := s.backUp()
	manifest := s.get(e + "/manifest").raw

	d := newBackupSite(t, func(c *Config) { c.Shards = 5 })
	d.event("in-the-way", 1, nil) // other events have other ids here
	a := d.bringBack(backup).ok(200)
	if a.results() != "gala:restored other:restored" {
		t.Fatalf("restored: %s", a.raw)
	}
	var listed restoreAnswer
	if err := json.Unmarshal(a.raw, &listed); err != nil {
		t.Fatal(err)
	}
	if g := listed.Events[0]; g.Holds != 5 || g.Bookings != 3 || g.Seats.Booked != 6 || g.Seats.Blocked != 10 {
		t.Errorf("the answer says %+v", g)
	}
	if !bytes.Equal(d.get(e+"/manifest").ok(200).raw, manifest) {
		t.Error("the manifest is another")
	}
	now := d.get(brief).ok(200)
	if in := now.num("expires_in_ms"); now.str("state") == "held" && (in <= 0 || in > left) {
		t.Errorf("the brief hold had %v ms left before the backup and has %v after it", left, in)
	}
	for _, b := range before {
		if got := d.tell(b.path); got != b && (b.path != brief || got.state != "expired") {
			t.Errorf("hold %+v has become %+v", b, got)
		}
	}
	if v := d.versionOf(e); v.Epoch() <= old.Epoch() {
		t.Errorf("version %d of epoch %d comes after one of epoch %d", v, v.Epoch(), old.Epoch())
	}
	if got := d.get(e).json["counts"].(obj); got["booked"] != counts.(obj)["booked"] || got["blocked"] != counts.(obj)["blocked"] {
		t.Errorf("counts were %v and are %v", counts, got)
	}

	// What was granted before the backup goes on.
	first := d.post(e+"/holds", again).ok(201)
	if first.str("fence") != repeatedFence["fence"] {
		t.Errorf("a repeated request is told the fence %s and not %v", first.str("fence"), repeatedFence["fence"])
	}
	d.post(e+"/holds", obj{"seats": []string{"A-4-2"}, "id": again["id"]}).problem("id_reused")
	d.post(held+"/extend", obj{"fence": heldFence["fence"], "nth": 1}).ok(200)
	d.post(held+"/confirm", heldFence).ok(200).want("seats", "A-1-1 A-1-2")
	d.post(paying+"/confirm", obj{"fence": "1"}).problem("fence_mismatch")
	d.post(paying+"/confirm", payFence).ok(200)
	d.post(partly+"/release", partFence).ok(200).want("seats", "A-2-2")
	d.post(released+"/release", releaseFence).ok(200)
	d.post(expired+"/confirm", expiredFence).ok(200).want("reacquired", true)
	d.post(e+"/holds", obj{"best": obj{"count": 8, "section": "A"}, "buyer": "ada"}).problem("buyer_limit")
	d.post(e+"/holds", obj{"seats": []string{"B-4-1"}}).problem("channel_required")
	d.post(e+"/holds", obj{"seats": []string{"B-4-1"}, "channel": "secret"}).ok(201)
	d.post(e+"/holds", obj{"seats": []string{"B-3-1"}}).problem("taken")
	until(t, "the brief hold expires", func() bool { return d.get(brief).str("state") == "expired" })
	fresh := d.post(e+"/holds", obj{"seats": []string{"A-1-3"}}).ok(201)
	if fence, err := strconv.ParseUint(fresh.str("fence"), 10, 64); err != nil || wire.Version(fence).Epoch() <= old.Epoch() {
		t.Errorf("a fence granted after the restore is %s", fresh.str("fence"))
	}
	d.post(brief+"/confirm", briefFence).problem("lost")

	// Once more: it is done, although the event has gone on.
	if got := d.bringBack(backup).ok(200).results(); got != "gala:exists other:exists" {
		t.Errorf("repeated: %s", got)
	}
	if got := d.tell(held); got.state != "booked" {
		t.Errorf("a repeated restore took a booking back: %+v", got)
	}
	// And from a backup of its own, after it was lost.
	own := d.backUp("gala")
	d.do(call{method: "DELETE", url: d.api + e}).ok(204)
	if got := d.bringBack(own).ok(200).results(); got != "gala:restored" {
		t.Errorf("restored from its own backup: %s", got)
	}
	if got := d.tell(held); got.state != "booked" {
		t.Errorf("the hold is %+v", got)
	}
}

// TestRestoreRefused proves that an event that exists is not touched, that all
// others are restored, and that the answers say what to do.
func TestRestoreRefused(t *testing.T) {
	s := newBackupSite(t, nil)
	for _, key := range []string{"a", "b", "c"} {
		s.event(key, 1, nil)
	}
	older := s.backUp()
	s.post("/v1/events/b/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
	newer := s.backUp()
	if got := s.bringBack(older).problem("exists").says("delete it first", "1 of 3").results(); got != "a:exists b:refused c:exists" {
		// What is as it was in the backup needs no restoring.
		t.Fatalf("in the cluster that was backed up: %s", got)
	}

	d := newBackupSite(t, nil)
	d.event("a", 1, nil)
	d.post("/v1/events/a/holds", obj{"seats": []string{"A-1-9"}}).ok(201)
	d.event("c", 2, nil)
	a := d.bringBack(newer).problem("exists").says("2 of 3", `"a"`, "delete it first")
	if got := a.results(); got != "a:refused b:restored c:refused" {
		t.Fatalf("events in the way: %s", got)
	}
	if !strings.Contains(string(a.raw), "another manifest") {
		t.Errorf("the reason is missing: %s", a.raw)
	}
	if c := d.get("/v1/events/a").json["counts"].(obj); c["held"] != 1.0 {
		t.Errorf("the event in the way has changed: %v", c)
	}
	// It was restored, but not from this backup.
	d.post("/v1/events/b/holds", obj{"seats": []string{"A-1-5"}}).ok(201)
	if got := d.bringBack(older, "b").problem("exists").says("another backup").results(); got != "b:refused" {
		t.Errorf("an older backup: %s", got)
	}
	if got := d.bringBack(newer, "b").ok(200).results(); got != "b:exists" {
		t.Errorf("the same backup: %s", got)
	}
	for _, key := range []string{"a", "c"} {
		d.do(call{method: "DELETE", url: d.api + "/v1/events/" + key}).ok(204)
	}
	if got := d.bringBack(newer).ok(200).results(); got != "a:restored b:exists c:restored" {
		t.Errorf("after they were deleted: %s", got)
	}

	// What is not there.
	s.postBad("/admin/backup", obj{"events": []string{"a", "nope"}}).problem("unknown_event").says(`"nope"`).want("key", "nope")
	s.postBad("/admin/backup", obj{"event": "a"}).problem("bad_request").field("event")
	d.do(call{method: "DELETE", url: d.api + "/v1/events/a"}).ok(204)
	a = d.bringBack(newer, "a", "nope", "zero").problem("unknown_event").says(`"nope"`)
	if got := a.results(); got != "a:restored" {
		t.Errorf("beside one that the backup does not have: %s", got)
	}
	d.do(call{method: "POST", url: d.admin + restorePath, body: "{}", bad: true}).problem("unsupported_media_type")
	d.do(call{method: "POST", url: d.admin + restorePath, header: map[string]string{"Content-Type": packedMedia}, bad: true}).problem("bad_request").says("cut off")
	d.bringBack("{}").problem("bad_request").says("cut off")
	d.bringBack("a backup of something else").problem("bad_request").says("no backup")
}

// TestRestoreInterrupted proves that a restore that ended anywhere can be done once
// more, and that nothing is restored of what is damaged.
func TestRestoreInterrupted(t *testing.T) {
	s := newBackupSite(t, nil)
	keys := []string{"a", "b", "c"}
	for _, key := range keys {
		s.event(key, 1, nil)
		s.post("/v1/events/"+key+"/holds", obj{"seats": []string{"A-1-1"}}).ok(201)
	}
	backup := s.backUp()
	whole := wholeBackup(t, []byte(backup))
	rng := seeded(t)
	d := newBackupSite(t, nil)
	for round := range 12 {
		bad := []byte(backup)
		at := rng.IntN(len(bad))
		if round%2 == 0 {
			bad = bad[:at]
		} else {
			bad[at] ^= 1 << rng.IntN(8)
		}
		a := d.bringBack(string(bad)).problem("bad_request")
		if !strings.Contains(a.str("detail"), "backup") {
			t.Errorf("byte %d: the detail is %q", at, a.str("detail"))
		}
		good, _ := eventsIn(bad)
		if got := strings.Count(a.results(), ":"); got != len(good) {
			t.Errorf("byte %d: %d events restored of %d that are whole: %s", at, got, len(good), a.raw)
		}
		for _, e := range wholeBackup(t, []byte(d.backUp())) {
			if want := whole[slices.Index(keys, e.Key)].Hash; e.Hash != want {
				t.Errorf("byte %d: event %q has the hash %x and not %x", at, e.Key, e.Hash, want)
			}
		}
		if round%3 == 2 {
			for _, e := range good {
				d.do(call{method: "DELETE", url: d.api + "/v1/events/" + e.Key}).ok(204)
			}
		}
	}
	d.bringBack(backup).ok(200)

	// Somebody has come as far as a place in the directory, somebody else as far as
	// a staged image.
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	f := newBackupSite(t, nil)
	for i, e := range whole[:2] {
		image, info, err := e.open()
		if err != nil {
			t.Fatal(err)
		}
		assign := wire.Assign{Mutation: f.n.begin(0), Key: []byte(e.Key), Digest: info.Digest}
		status, body := f.n.do(ctx, wire.Record{Kind: wire.KindAssign, Body: assign.Append(nil)})
		var loc wire.Location
		if status != wire.StatusOK || loc.Decode(body) != nil {
			t.Fatalf("assign: %v %s", status, body)
		}
		if i == 0 {
			continue
		}
		number := f.n.table().Event(loc.Event).Number
		if err := f.n.sendImage(ctx, loc.Shard, image, wire.Import{Mutation: wire.Mutation{Event: loc.Event}, Number: number, Attempt: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.bringBack(backup).ok(200).results(); got != "a:restored b:restored c:restored" {
		t.Errorf("after two that were not finished: %s", got)
	}
}

// TestRestoreRoles proves that it takes the role operate to read everything and to
// bring it back, and that a client that sends a lot learns so.
func TestRestoreRoles(t *testing.T) {
	s := newBackupSite(t, func(c *Config) { c.Admin = "0.0.0.0:0"; c.Insecure = true })
	s.event("a", 1, nil)
	root := s.post("/admin/keys", obj{"name": "root", "role": "operate"}).ok(201).str("key")
	s.key = root
	backup := s.backUp()
	sell := s.post("/admin/keys", obj{"name": "sell", "role": "sell"}).ok(201).str("key")
	long := backup + strings.Repeat("x", 3<<20)
	for key, code := range map[string]string{"": "unauthorized", sell: "forbidden"} {
		s.key = key
		s.post("/admin/backup", obj{}).problem(code)
		s.bringBack(backup).problem(code)
	}
	s.key = root
	s.bringBack(long).problem("bad_request").says("damaged")
	s.bringBack("no backup at all" + long).problem("bad_request").says("no backup")
	// Only backups may be long.
	s.do(call{method: "POST", url: s.admin + "/admin/keys", body: long, bad: true}).problem("too_large")
	s.post("/admin/keys", obj{"name": "more", "role": "read"}).ok(201)
}

// TestBackupCutOff proves that a client learns of a backup that failed on its way,
// that nothing is left behind of it or of one whose client went away, and that a
// node works at so many and no more.
func TestBackupCutOff(t *testing.T) {
	s := newBackupSite(t, nil)
	s.event("a", 1, nil)
	s.event("b", 1, nil)
	// Somebody has begun to move b, and nobody goes on with it.
	b := s.n.table().Find("b")
	freeze := wire.Freeze{Mutation: wire.Mutation{Event: b.ID}, Number: 1 << 40}
	if a := s.n.insist(t.Context(), b.Shard, wire.Record{Kind: wire.KindFreeze, Body: freeze.Append(nil)}); a.status != wire.StatusOK {
		t.Fatalf("freeze: %v %s", a.status, a.body)
	}
	begin := func() (*http.Response, []byte) {
		t.Helper()
		resp, err := s.client.Post(s.admin+"/admin/backup", jsonMedia, strings.NewReader("{}"))
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v %v", resp, err)
		}
		// Up to where it is certain that the first event has been had.
		head := make([]byte, len(backupMagic)+16+8+8+1)
		if _, err := io.ReadFull(resp.Body, head); err != nil {
			t.Fatal(err)
		}
		return resp, head
	}
	first, head := begin()
	second, _ := begin()
	s.post("/admin/backup", obj{}).problem("overloaded").says("2 backups")
	s.bringBack("UshBack1").problem("overloaded")
	second.Body.Close()

	s.n.stopping.Store(true)
	rest, err := io.ReadAll(first.Body)
	if err == nil {
		t.Error("an answer that was cut off ends like one that was not")
	}
	events, err := eventsIn(append(head, rest...))
	if len(events) != 1 || err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("%d events and the error %v", len(events), err)
	}
	first.Body.Close()
	until(t, "nobody works at a backup", func() bool { return s.n.backups.running.Load() == 0 })
	s.n.stopping.Store(false)
	s.backUp("a")
}
