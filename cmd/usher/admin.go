package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/usher-seats/usher/client"
)

// An adminAction is one thing that `usher admin` does.
type adminAction struct {
	name    string
	args    []string // names of its arguments; those in brackets may be left out
	summary string
	run     func(a *adminCall, ctx context.Context) error

	// flags are its own ones as help shows them, register registers them.
	flags    string
	register func(a *adminCall, f *flag.FlagSet)
	alone    bool // it asks no node, so the flags that say how to reach one are not for it
}

func adminActions() []adminAction {
	force := func(a *adminCall, f *flag.FlagSet) {
		f.BoolVar(&a.force, "force", false, "remove a node that is dead, with its replicas")
	}
	dryRun := func(a *adminCall, f *flag.FlagSet) {
		f.BoolVar(&a.dryRun, "dry-run", false, "only show what would be changed")
	}
	only := func(a *adminCall, f *flag.FlagSet) {
		f.Var(&a.only, "event", "`key` of an event to back up or restore; may be given several times")
	}
	asJSON := func(a *adminCall, f *flag.FlagSet) { f.BoolVar(&a.asJSON, "json", false, "print JSON") }
	certs := func(a *adminCall, f *flag.FlagSet) { a.forCerts.register(f) }
	room := func(a *adminCall, f *flag.FlagSet) { a.forRoom.register(f) }
	draw := func(a *adminCall, f *flag.FlagSet) { a.forDraw.register(f) }
	return []adminAction{
		{name: "cluster", summary: "show the nodes, the groups with their members, and events that move; with --wait, when all is up and settled", run: (*adminCall).cluster},
		{name: "add-shards", args: []string{"[N]"}, summary: "make N more shards (1 if not given)", run: (*adminCall).addShards},
		{name: "drain-node", args: []string{"NAME"}, summary: "have a node's replicas go elsewhere", run: (*adminCall).drainNode},
		{name: "undrain-node", args: []string{"NAME"}, summary: "let a node take replicas again", run: (*adminCall).undrainNode},
		{name: "remove-node", args: []string{"NAME"}, flags: "[--force]", register: force, summary: "take a drained node, or a dead one, out of the cluster", run: (*adminCall).removeNode},
		{name: "move-event", args: []string{"KEY", "SHARD"}, summary: "move an event to another shard, while it is on sale", run: (*adminCall).moveEvent},
		{name: "cancel-move", args: []string{"KEY"}, summary: "let an event that is moving stay where it is", run: (*adminCall).cancelMove},
		{name: "transfer", args: []string{"SHARD", "NODE"}, summary: "have a shard led by another of its nodes", run: (*adminCall).transfer},
		{name: "place", args: []string{"SHARD", "NODE[,NODE…]"}, summary: "have a shard's replicas on certain nodes, the leader first", run: (*adminCall).place},
		{name: "rebalance", flags: "[--dry-run]", register: dryRun, summary: "even out replicas and leaders over the nodes", run: (*adminCall).rebalance},
		{name: "audit", summary: "show who changed what, the latest first", run: (*adminCall).audit},
		{name: "signing-keys", summary: "list the keys that nodes sign with", run: (*adminCall).signingKeys},
		{name: "rotate-signing-key", summary: "sign with a new key; what the one before has signed stays good", run: (*adminCall).rotateSigningKey},
		{name: "events", summary: "list the events", run: (*adminCall).events},
		{name: "event", args: []string{"KEY"}, summary: "show an event: rules, and counts by section and category", run: (*adminCall).event},
		{name: "create-event", args: []string{"FILE"}, summary: "create an event from a manifest in JSON (- for standard input)", run: (*adminCall).createEvent},
		{name: "delete-event", args: []string{"KEY"}, summary: "delete an event with all its holds and bookings", run: (*adminCall).deleteEvent},
		{name: "room", args: []string{"KEY", "[show|set|pause|resume|drain|open|draw|off]"}, flags: "[--limit N] [--rate N] …", register: room, summary: "show an event's waiting room, make or change it, or direct it", run: (*adminCall).room},
		{name: "draw", args: []string{"verify"}, flags: "[--event KEY] (--ticket T | --entry N) …", register: draw, summary: "compute a ticket's queue number from the values that the draw has published", run: (*adminCall).draw},
		{name: "backup", args: []string{"FILE"}, flags: "[--event KEY]…", register: only, summary: "back up all events, or some, to a file (- for standard output)", run: (*adminCall).backup},
		{name: "restore", args: []string{"FILE"}, flags: "[--event KEY]…", register: only, summary: "bring back the events of a backup, or some", run: (*adminCall).restore},
		{name: "backup-list", args: []string{"FILE"}, register: asJSON, alone: true, summary: "verify a backup and list its events, without a node", run: (*adminCall).backupList},
		{name: "keys", summary: "list the API keys", run: (*adminCall).keys},
		{name: "add-key", args: []string{"NAME", "ROLE"}, summary: "make an API key that may read, sell or operate, and print it once", run: (*adminCall).addKey},
		{name: "drop-key", args: []string{"NAME"}, summary: "remove an API key", run: (*adminCall).dropKey},
		{name: "certs", flags: "--dir DIR --node NAME …", register: certs, alone: true, summary: "make the certificates by which nodes know each other; needs no node", run: (*adminCall).certs},
	}
}

// usage is the action with its arguments and flags.
func (x *adminAction) usage() string {
	words := append([]string{x.name}, x.args...)
	if x.flags != "" {
		words = append(words, x.flags)
	}
	return strings.Join(words, " ")
}

// needs is how many arguments must be given.
func (x *adminAction) needs() int {
	optional := slices.IndexFunc(x.args, func(arg string) bool { return strings.HasPrefix(arg, "[") })
	if optional < 0 {
		return len(x.args)
	}
	return optional
}

func aboutAdmin() string {
	var b strings.Builder
	b.WriteString("Looks after a cluster through one of its nodes. ACTION is one of:\n\n")
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, a := range adminActions() {
		fmt.Fprintf(tw, "  %s\t%s\n", a.usage(), a.summary)
	}
	tw.Flush()
	b.WriteString(`
Flags come after the action: usher admin events --addr 10.0.0.1:7700

What changes the cluster is done when the cluster has decided it; its nodes then
make it so, whether or not somebody watches. With --wait it ends when it is so:

  usher admin drain-node n2 --wait --timeout 10m && usher admin remove-node n2 --wait

An action that was done already succeeds again; add-shards and rotate-signing-key
do more each time.`)
	return b.String()
}

// An adminCall is one invocation. It belongs to the goroutine that runs it.
type adminCall struct {
	connect connectFlags
	admins  listFlag // URLs of admin listeners
	asJSON  bool
	wait    bool
	timeout time.Duration
	force   bool       // remove-node
	dryRun  bool       // rebalance
	only    eventFlags // backup, restore

	forCerts certsFlags
	forRoom  roomFlags
	forDraw  drawFlags

	args   []string
	stdout io.Writer
	stdin  io.Reader

	http *http.Client // made by the first request to an admin listener
	at   int          // of admins, that answered last
}

func (a *adminCall) register(f *flag.FlagSet) {
	a.connect.register(f, "`address` of a node's binary protocol", "127.0.0.1:7700")
	a.admins.values = []string{"http://127.0.0.1:9090"}
	f.Var(&a.admins, "admin-url", "`URLs` of nodes' admin listeners, between commas or one by one: the first that answers is asked")
	f.BoolVar(&a.asJSON, "json", false, "print JSON")
	f.BoolVar(&a.wait, "wait", false, "end when the change is there, not already when it is decided")
	f.DurationVar(&a.timeout, "timeout", 30*time.Second, "`time` that the action may take")
}

func admin(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	a := &adminCall{stdout: stdout, stdin: os.Stdin}
	f := newFlags("admin")
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
		a.register(f)
		if err := parse(f, args, aboutAdmin(), stdout); err != nil {
			return err
		}
		return usageError{"say what to do, for example `usher admin cluster`: `usher admin -h` lists it"}
	}
	i := slices.IndexFunc(adminActions(), func(x adminAction) bool { return x.name == args[0] })
	if i < 0 {
		return usageError{fmt.Sprintf("there is no action %q: `usher admin -h` lists them", args[0])}
	}
	action, rest := adminActions()[i], args[1:]
	if !action.alone {
		a.register(f)
	}
	if action.register != nil {
		action.register(a, f)
	}
	for len(rest) > 0 && len(a.args) < len(action.args) && (rest[0] == "-" || !strings.HasPrefix(rest[0], "-")) {
		a.args, rest = append(a.args, rest[0]), rest[1:]
	}
	if err := parse(f, rest, aboutAdmin(), stdout); err != nil {
		return err
	}
	a.takeTime(f, action.name)
	if len(a.args) < action.needs() || f.NArg() > 0 {
		return usageError{"usage: usher admin " + action.usage()}
	}
	if action.alone {
		return action.run(a, ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	err := action.run(a, ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%w (--timeout %v)", err, a.timeout)
	}
	return err
}

// dial connects to the binary protocol.
func (a *adminCall) dial(ctx context.Context) (*client.Client, error) {
	o, err := a.connect.clientOptions()
	if err != nil {
		return nil, err
	}
	o.RequestTimeout = a.timeout
	c, err := client.Dial(ctx, []string{a.connect.addr}, &o)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", a.connect.addr, err)
	}
	return c, nil
}
