package etcd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

// A conn is one connection, on which many calls are under way.
type conn struct {
	etcd   *Inventory
	client *clientv3.Client
	maps   [][]byte
	lost   atomic.Bool // the last hold did not get its seats
}

func (c *conn) Close() { _ = c.client.Close() } // how it ends does not matter

// Do makes all calls at once: gRPC carries them over one connection.
func (c *conn) Do(ctx context.Context, requests []inventory.Request, answers []inventory.Answer) error {
	for len(c.maps) < len(requests) {
		c.maps = append(c.maps, nil)
	}
	errs := make([]error, len(requests))
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() { errs[i] = c.one(ctx, &requests[i], &answers[i], &c.maps[i]) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *conn) one(ctx context.Context, r *inventory.Request, a *inventory.Answer, m *[]byte) (err error) {
	number := strconv.FormatUint(r.Number, 10)
	switch r.Op {
	case inventory.Hold:
		a.Status, err = c.hold(ctx, r, r.Seats, number)
	case inventory.Best:
		return c.best(ctx, r, a, number)
	case inventory.Confirm:
		a.Status, err = c.change(ctx, r, number, func(key string) clientv3.Op {
			return clientv3.OpPut(key, bookedPrefix+number) // without its lease
		})
	case inventory.Release:
		a.Status, err = c.change(ctx, r, number, func(key string) clientv3.Op { return clientv3.OpDelete(key) })
	default:
		a.Status = inventory.OK
		*m, err = c.readMap(ctx, r.Event, (*m)[:0])
		a.Map = *m
	}
	return err
}

// hold takes the seats in a transaction if they are free. A transaction that finds
// them taken is an entry of the log all the same, so while holds are being lost it
// reads first, which needs none.
func (c *conn) hold(ctx context.Context, r *inventory.Request, seats []int, number string) (inventory.Status, error) {
	free := make([]clientv3.Cmp, len(seats))
	for i, s := range seats {
		free[i] = clientv3.Compare(clientv3.CreateRevision(seatKey(r.Event, s)), "=", 0)
	}
	if c.lost.Load() {
		// A transaction that changes nothing is a read, as linearizable as any.
		look, err := c.client.Txn(ctx).If(free...).Commit()
		if err != nil {
			return 0, err
		}
		if !look.Succeeded {
			return inventory.Taken, nil
		}
	}
	status, err := c.take(ctx, r, seats, number, free)
	c.lost.Store(status == inventory.Taken)
	return status, err
}

func (c *conn) take(ctx context.Context, r *inventory.Request, seats []int, number string, free []clientv3.Cmp) (inventory.Status, error) {
	lease, err := c.etcd.leases.get(ctx, r.Life())
	if err != nil {
		return 0, err
	}
	puts := make([]clientv3.Op, len(seats))
	for i, s := range seats {
		puts[i] = clientv3.OpPut(seatKey(r.Event, s), number, clientv3.WithLease(lease))
	}
	done, err := c.client.Txn(ctx).If(free...).Then(puts...).Commit()
	if err != nil {
		return 0, err
	}
	if !done.Succeeded {
		return inventory.Taken, nil
	}
	return inventory.OK, nil
}

// change does something to the seats of a hold, if it still has them.
func (c *conn) change(ctx context.Context, r *inventory.Request, number string, op func(key string) clientv3.Op) (inventory.Status, error) {
	mine, ops := make([]clientv3.Cmp, len(r.Seats)), make([]clientv3.Op, len(r.Seats))
	for i, s := range r.Seats {
		key := seatKey(r.Event, s)
		mine[i] = clientv3.Compare(clientv3.Value(key), "=", number)
		ops[i] = op(key)
	}
	done, err := c.client.Txn(ctx).If(mine...).Then(ops...).Commit()
	if err != nil {
		return 0, err
	}
	if !done.Succeeded {
		return inventory.Gone, nil
	}
	return inventory.OK, nil
}

// rowsRead is how many rows best available reads at a time.
const rowsRead = 4

// best reads some rows, finds a group that is free, and takes it, if nobody was
// faster; else the next one. Callers begin at different groups of what they have
// read, since all of them would lose but one if they began at the first.
func (c *conn) best(ctx context.Context, r *inventory.Request, a *inventory.Answer, number string) error {
	rows := c.etcd.seats(r.Event) / inventory.RowSeats
	for row := 0; row < rows; {
		taken, err := c.takenIn(ctx, r.Event, row, min(row+rowsRead, rows))
		if err != nil {
			return err
		}
		groups := runs(taken, row*inventory.RowSeats, r.Count)
		if len(groups) == 0 {
			row += rowsRead
			continue
		}
		first := groups[int(r.Number)%len(groups)]
		seats, free := make([]int, r.Count), make([]clientv3.Cmp, r.Count)
		for i := range seats {
			seats[i] = first + i
			free[i] = clientv3.Compare(clientv3.CreateRevision(seatKey(r.Event, seats[i])), "=", 0)
		}
		status, err := c.take(ctx, r, seats, number, free)
		if err != nil {
			return err
		}
		if status == inventory.OK {
			a.Status, a.Seats = status, append(a.Seats, seats...)
			return nil
		}
	}
	a.Status = inventory.Taken
	return nil
}

// takenIn reads which seats of rows are taken. It may be behind: what it finds is
// compared again when it is taken. But it must not miss the last free seats, which
// a read from a leader does not.
func (c *conn) takenIn(ctx context.Context, event, from, to int) ([]bool, error) {
	first := from * inventory.RowSeats
	taken := make([]bool, (to-from)*inventory.RowSeats)
	all, err := c.client.Get(ctx, seatKey(event, first),
		clientv3.WithRange(seatKey(event, to*inventory.RowSeats)), clientv3.WithKeysOnly(), clientv3.WithSerializable())
	if err != nil {
		return nil, err
	}
	for _, kv := range all.Kvs {
		seat, err := seatOf(kv.Key)
		if err != nil {
			return nil, err
		}
		taken[seat-first] = true
	}
	return taken, nil
}

// runs are the first seats of groups of count free neighbours that do not overlap.
func runs(taken []bool, first, count int) (groups []int) {
	run := 0
	for i, t := range taken {
		if i%inventory.RowSeats == 0 {
			run = 0
		}
		run++
		if t {
			run = 0
		}
		if run == count {
			groups = append(groups, first+i-count+1)
			run = 0
		}
	}
	return groups
}

// readMap appends every seat that is taken, all of one revision.
func (c *conn) readMap(ctx context.Context, event int, b []byte) ([]byte, error) {
	all, err := c.client.Get(ctx, eventPrefix(event), clientv3.WithPrefix())
	if err != nil {
		return b, err
	}
	if all.More {
		return b, fmt.Errorf("event %d: half a map", event)
	}
	for _, kv := range all.Kvs {
		seat, err := seatOf(kv.Key)
		if err != nil {
			return b, err
		}
		b = append(binary.LittleEndian.AppendUint32(b, uint32(seat)), byte(stateOf(kv.Value)))
	}
	return b, nil
}
