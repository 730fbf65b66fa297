package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// The actions below tell the directory what the cluster is to be like. Its nodes
// make it so; with --wait the action ends when they have.

func (a *adminCall) addShards(ctx context.Context) error {
	count := uint32(1)
	if len(a.args) > 0 {
		n, err := strconv.ParseUint(a.args[0], 10, 32)
		if err != nil || n == 0 {
			return usageError{fmt.Sprintf("%q shards: want a number from 1", a.args[0])}
		}
		count = uint32(n)
	}
	var made struct{ First, Count uint32 }
	c := change{path: "/admin/shards", body: map[string]uint32{"count": count}, once: rand.Text()}
	answer, err := a.askOnce(ctx, http.MethodPost, c, &made)
	if err != nil {
		return err
	}
	if err := a.await(ctx, shardsThere(made.First, made.Count)); err != nil {
		return err
	}
	return a.say(answer, "made shards %d to %d", made.First, made.First+made.Count-1)
}

func (a *adminCall) drainNode(ctx context.Context) error {
	answer, err := a.drain(ctx, true)
	if err != nil {
		return err
	}
	if err := a.await(ctx, drained(a.args[0])); err != nil {
		return err
	}
	if a.wait {
		return a.say(answer, "node %s has no replicas of shards", a.args[0])
	}
	return a.say(answer, "node %s drains", a.args[0])
}

func (a *adminCall) undrainNode(ctx context.Context) error {
	answer, err := a.drain(ctx, false)
	if err != nil {
		return err
	}
	return a.say(answer, "node %s takes replicas again", a.args[0])
}

func (a *adminCall) drain(ctx context.Context, drain bool) (answer []byte, err error) {
	return a.ask(ctx, http.MethodPost, "/admin/nodes/"+url.PathEscape(a.args[0])+"/drain", map[string]bool{"drain": drain}, nil)
}

func (a *adminCall) removeNode(ctx context.Context) error {
	name := a.args[0]
	path := "/admin/nodes/" + url.PathEscape(name)
	if a.force {
		path += "?force=1"
	}
	answer, err := a.ask(ctx, http.MethodDelete, path, nil, nil)
	p, refused := errors.AsType[*problemError](err)
	gone := refused && p.Code == wire.StatusUnknownPlace.String()
	if err != nil && !gone {
		return err
	}
	if err := a.await(ctx, removed(name)); err != nil {
		return err
	}
	if gone {
		return a.say(answer, "there is no node %s", name)
	}
	return a.say(answer, "node %s is no longer in the cluster", name)
}

func (a *adminCall) moveEvent(ctx context.Context) error {
	to, err := shardArg(a.args[1])
	if err != nil {
		return err
	}
	var move struct{ Number uint64 }
	answer, err := a.ask(ctx, http.MethodPost, movePath(a.args[0]), map[string]uint32{"shard": to}, &move)
	if err != nil {
		return err
	}
	if err := a.await(ctx, a.eventIn(ctx, a.args[0], to, move.Number)); err != nil {
		return err
	}
	if a.wait {
		return a.say(answer, "event %s is in shard %d", a.args[0], to)
	}
	return a.say(answer, "event %s moves to shard %d", a.args[0], to)
}

func (a *adminCall) cancelMove(ctx context.Context) error {
	answer, err := a.ask(ctx, http.MethodDelete, movePath(a.args[0]), nil, nil)
	if err != nil {
		return err
	}
	return a.say(answer, "event %s is not moving", a.args[0])
}

func movePath(key string) string { return "/admin/events/" + url.PathEscape(key) + "/move" }

// placed is where a shard is to have its replicas, the preferred leader first.
type placed struct {
	Shard uint32   `json:"shard"`
	Nodes []string `json:"nodes"`
	Why   string   `json:"why"`
}

func (a *adminCall) transfer(ctx context.Context) error {
	shard, err := shardArg(a.args[0])
	if err != nil {
		return err
	}
	path := fmt.Sprintf("/admin/shards/%d/transfer", shard)
	answer, err := a.ask(ctx, http.MethodPost, path, map[string]string{"node": a.args[1]}, nil)
	if err != nil {
		return err
	}
	if err := a.await(ctx, ledBy(shard, a.args[1])); err != nil {
		return err
	}
	if a.wait {
		return a.say(answer, "shard %d is led by %s", shard, a.args[1])
	}
	return a.say(answer, "shard %d is to be led by %s", shard, a.args[1])
}

func (a *adminCall) place(ctx context.Context) error {
	shard, err := shardArg(a.args[0])
	if err != nil {
		return err
	}
	var p placed
	body := map[string][]string{"nodes": strings.Split(a.args[1], ",")}
	answer, err := a.ask(ctx, http.MethodPut, fmt.Sprintf("/admin/shards/%d/replicas", shard), body, &p)
	if err != nil {
		return err
	}
	if err := a.await(ctx, placedAs(p)); err != nil {
		return err
	}
	if a.wait {
		return a.say(answer, "shard %d is on %s", shard, strings.Join(p.Nodes, ", "))
	}
	return a.say(answer, "shard %d is to be on %s", shard, strings.Join(p.Nodes, ", "))
}

func (a *adminCall) rebalance(ctx context.Context) error {
	var plan struct{ Changes []placed }
	answer, err := a.ask(ctx, http.MethodPost, "/admin/rebalance", map[string]bool{"dry_run": a.dryRun}, &plan)
	if err != nil {
		return err
	}
	if !a.dryRun {
		if err := a.await(ctx, allSettled(plan.Changes)); err != nil {
			return err
		}
	}
	return a.print(answer, func(w io.Writer) {
		if len(plan.Changes) == 0 {
			fmt.Fprintln(w, "replicas and leaders are even")
			return
		}
		fmt.Fprintln(w, "SHARD\tNODES\tWHY")
		for _, c := range plan.Changes {
			fmt.Fprintf(w, "%d\t%s\t%s\n", c.Shard, strings.Join(c.Nodes, ", "), c.Why)
		}
	})
}

func shardArg(text string) (uint32, error) {
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 {
		return 0, usageError{fmt.Sprintf("%q is no shard: want its number, from 1", text)}
	}
	return uint32(n), nil
}
