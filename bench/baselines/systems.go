package main

import (
	"context"
	"slices"
	"time"

	"github.com/usher-seats/usher/bench/baselines/etcd"
	"github.com/usher-seats/usher/bench/baselines/inventory"
	"github.com/usher-seats/usher/bench/baselines/postgres"
	"github.com/usher-seats/usher/bench/baselines/redis"
	"github.com/usher-seats/usher/bench/baselines/usher"
)

// A system is a row of the table.
type system struct {
	name string
	// about says what is durable when it is acknowledged, and how.
	about string
	load  inventory.Load
	// loads are workloads whose load differs.
	loads map[string]inventory.Load
	// workloads that are measured; the others would say nothing new.
	workloads []string
	// ahead is how many events are there before buyers want them: more than it sells
	// while it is measured.
	ahead int
	start func(ctx context.Context, p *programs) (inventory.Inventory, error)
}

var (
	all = inventory.Workloads()
	// writes are the workloads that ways of holding seats differ in.
	writes = []string{"hold", "stampede", "cycle", "onsale"}
	// pipelined is a load for systems that take many requests of a connection.
	pipelined = inventory.Load{Conns: 16, Depth: 64}
	// deep is the load of `usher bench stampede`: answers are small, and so are the
	// batches that one read of a socket brings.
	deep = inventory.Load{Conns: 16, Depth: 512}
	// pool is what two cores and one disk can make use of: more connections of
	// PostgreSQL wait for each other.
	pool = inventory.Load{Conns: 32, Depth: 1}
	// etcdLoads are fewer: of buyers who want the best of one event at a time nearly
	// all collide, and maps are large.
	etcdLoads = map[string]inventory.Load{"best": {Conns: 8, Depth: 2}, "map": {Conns: 4, Depth: 1}}
	// maps are large, so fewer are under way.
	maps = inventory.Load{Conns: 16, Depth: 8}
)

// yardstick is the system that all others are compared with.
const yardstick = "Usher"

// systems are all rows. The order is that of the table.
var systems = []system{
	{
		name: yardstick, about: "fsync before each answer", workloads: all, ahead: 64,
		load: pipelined, loads: map[string]inventory.Load{"stampede": deep, "map": maps},
		start: startUsher(1),
	},
	{
		name: "Usher, alone on each connection", about: "the same, with PostgreSQL's load", workloads: all, ahead: 16,
		load: pool, start: startUsher(1),
	},
	{
		name: "Usher, 3 nodes", about: "fsync on two of three nodes", workloads: all, ahead: 32,
		load: pipelined, loads: map[string]inventory.Load{"stampede": deep, "map": maps},
		start: startUsher(3),
	},
	{
		name: "Redis, bitmaps", about: "nothing is durable", workloads: all, ahead: 32,
		load: pipelined, loads: map[string]inventory.Load{"map": maps},
		start: startRedis(redis.Bitmaps, redis.Memory),
	},
	{
		name: "Redis, key per seat", about: "nothing is durable", workloads: all, ahead: 32,
		// A script that reads row after row takes a millisecond, in which nobody else is
		// served: a queue of a thousand of them is of use to nobody.
		load: pipelined, loads: map[string]inventory.Load{"best": {Conns: 8, Depth: 2}, "map": {Conns: 4, Depth: 1}},
		start: startRedis(redis.Keys, redis.Memory),
	},
	{
		name: "Redis, bitmaps, AOF always", about: "fsync before each answer", workloads: all, ahead: 32,
		load: pipelined, loads: map[string]inventory.Load{"map": maps},
		start: startRedis(redis.Bitmaps, redis.Always),
	},
	{
		name: "Redis, key per seat, AOF always", about: "fsync before each answer", workloads: writes, ahead: 32,
		load:  pipelined,
		start: startRedis(redis.Keys, redis.Always),
	},
	{
		name: "PostgreSQL, FOR UPDATE", about: "fsync before each answer", workloads: writes, ahead: 2,
		load: pool, start: startPostgres(postgres.ForUpdate),
	},
	{
		name: "PostgreSQL, status and sweeper", about: "fsync before each answer", workloads: writes, ahead: 2,
		load: pool, start: startPostgres(postgres.Swept),
	},
	{
		name: "PostgreSQL, implicit status", about: "fsync before each answer", workloads: []string{"hold", "stampede", "cycle", "map", "onsale"}, ahead: 2,
		load: pool, loads: map[string]inventory.Load{"map": {Conns: 4, Depth: 1}},
		start: startPostgres(postgres.Implicit),
	},
	{
		name: "PostgreSQL, one function call", about: "fsync before each answer", workloads: writes, ahead: 2,
		load: pool, start: startPostgres(postgres.Function),
	},
	{
		name: "PostgreSQL, 64 holds a call", about: "fsync before each answer, one for all of a call", workloads: writes, ahead: 5,
		load:  inventory.Load{Conns: 8, Depth: 64},
		start: startPostgres(postgres.Batched),
	},
	{
		name: "PostgreSQL, SKIP LOCKED", about: "fsync before each answer", workloads: []string{"best"}, ahead: 1,
		load: pool, start: startPostgres(postgres.Function),
	},
	{
		name: "etcd", about: "fsync before each answer", workloads: all, ahead: 8,
		load: inventory.Load{Conns: 8, Depth: 64}, loads: etcdLoads,
		start: startEtcd(1),
	},
	{
		name: "etcd, 3 nodes", about: "fsync on two of three nodes", workloads: all, ahead: 8,
		load: inventory.Load{Conns: 8, Depth: 64}, loads: etcdLoads,
		start: startEtcd(3),
	},
}

func (s *system) measures(workload string) bool { return slices.Contains(s.workloads, workload) }

func (s *system) loadFor(workload string) inventory.Load {
	if l, ok := s.loads[workload]; ok {
		return l
	}
	return s.load
}

func startUsher(nodes int) func(context.Context, *programs) (inventory.Inventory, error) {
	return func(ctx context.Context, p *programs) (inventory.Inventory, error) {
		u, err := usher.Start(ctx, usher.Config{Program: p.usher, Data: p.data, Nodes: nodes})
		if err != nil {
			return nil, err
		}
		return u, nil
	}
}

func startRedis(d redis.Design, durability redis.Durability) func(context.Context, *programs) (inventory.Inventory, error) {
	return func(ctx context.Context, p *programs) (inventory.Inventory, error) {
		r, err := redis.Start(ctx, redis.Config{Program: p.redis, Data: p.data, Design: d, Durability: durability})
		if err != nil {
			return nil, err
		}
		return r, nil
	}
}

// sweepEvery is between two sweeps while it is measured. No hold runs out then, so
// what it costs is the index that a sweeper needs.
const sweepEvery = time.Second

func startPostgres(v postgres.Variant) func(context.Context, *programs) (inventory.Inventory, error) {
	return func(ctx context.Context, p *programs) (inventory.Inventory, error) {
		g, err := postgres.Start(ctx, postgres.Config{Template: p.template, Data: p.data, Variant: v, SweepEvery: sweepEvery})
		if err != nil {
			return nil, err
		}
		return g, nil
	}
}

func startEtcd(nodes int) func(context.Context, *programs) (inventory.Inventory, error) {
	return func(ctx context.Context, p *programs) (inventory.Inventory, error) {
		e, err := etcd.Start(ctx, etcd.Config{Program: p.etcd, Data: p.data, Nodes: nodes})
		if err != nil {
			return nil, err
		}
		return e, nil
	}
}
