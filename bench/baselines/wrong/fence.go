package wrong

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/redis/rueidis"

	"github.com/usher-seats/usher/bench/baselines/redis"
	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// FenceResult is what two buyers of one seat were told.
type FenceResult struct {
	Redis []string // buyers whose confirmation was acknowledged
	Usher []string
	// Refusal is what Usher said to the one who had slept.
	Refusal string
}

const (
	lockTTL = time.Second // of the lock and of the hold
	seat    = 7
)

// Fence stops a customer's process between its hold and its confirmation for
// longer than the hold lasts: with a lock in Redis that has an end and no fence,
// and with Usher.
func Fence(ctx context.Context, c *Config, out io.Writer) (*FenceResult, error) {
	fmt.Fprintf(out, "A lock without a fence: ann's process is stopped (SIGSTOP) for longer than her %v last; bob buys the seat meanwhile.\n", lockTTL)
	r := new(FenceResult)
	if err := r.withRedis(ctx, c); err != nil {
		return nil, fmt.Errorf("Redis: %w", err)
	}
	fmt.Fprintf(out, "  Redis, SET NX PX: the seat is booked by %s\n", strings.Join(r.Redis, " and by "))
	if err := r.withUsher(ctx, c); err != nil {
		return nil, fmt.Errorf("Usher: %w", err)
	}
	fmt.Fprintf(out, "  Usher:            the seat is booked by %s; ann is told: %s\n", strings.Join(r.Usher, " and by "), r.Refusal)
	return r, nil
}

func (r *FenceResult) withRedis(ctx context.Context, c *Config) error {
	s, err := redis.NewServer(c.Redis, c.Data, redis.Always)
	if err != nil {
		return err
	}
	defer s.Remove()
	if err := s.Start(ctx); err != nil {
		return err
	}
	ann, err := c.startCustomer(ctx, "redis", s.Addr())
	if err != nil {
		return err
	}
	defer ann.end()
	bob, err := s.Client()
	if err != nil {
		return err
	}
	defer bob.Close()
	err = ann.sleepThrough(ctx, func() (bool, error) {
		held, err := lock(ctx, bob, "bob")
		if err != nil || !held {
			return false, err
		}
		return true, book(ctx, bob, "bob")
	})
	if err != nil {
		return err
	}
	if said, err := ann.confirm(); err != nil || said != "booked" {
		return fmt.Errorf("ann said %q: %w", said, err)
	}
	r.Redis, err = bob.Do(ctx, bob.B().Lrange().Key(bookingsKey).Start(0).Stop(-1).Build()).AsStrSlice()
	return err
}

func (r *FenceResult) withUsher(ctx context.Context, c *Config) error {
	u, err := c.startUsher(ctx)
	if err != nil {
		return err
	}
	defer u.Close()
	ann, err := c.startCustomer(ctx, "usher", u.Nodes()[0].Addr)
	if err != nil {
		return err
	}
	defer ann.end()
	ev, err := u.Client().Event(ctx, u.Key(event))
	if err != nil {
		return err
	}
	err = ann.sleepThrough(ctx, func() (bool, error) {
		hold, err := ev.Hold(ctx, client.HoldRequest{Seats: []wire.SeatID{seat}, Buyer: "bob"})
		if client.StatusOf(err) == wire.StatusTaken {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		r.Usher = append(r.Usher, "bob")
		return true, hold.Confirm(ctx)
	})
	if err != nil {
		return err
	}
	if r.Refusal, err = ann.confirm(); err == nil && r.Refusal == "booked" {
		r.Usher = append(r.Usher, "ann")
	}
	return err
}

// A customer is ann: a process that holds the seat, and confirms when it is told
// to.
type customer struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (c *Config) startCustomer(ctx context.Context, system, addr string) (*customer, error) {
	a := &customer{cmd: exec.CommandContext(ctx, c.Self[0], append(c.Self[1:], system, addr)...)}
	a.cmd.Stderr = os.Stderr
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a customer: %w", err)
	}
	if said, err := a.read(); err != nil || said != "held" {
		a.end()
		return nil, fmt.Errorf("the customer said %q: %w", said, err)
	}
	return a, nil
}

func (a *customer) read() (string, error) {
	line, err := a.out.ReadString('\n')
	return strings.TrimSpace(line), err
}

const tryEvery = 20 * time.Millisecond

// sleepThrough stops the process, until somebody else has done what he can only
// do when ann's time is over, and lets it go on.
func (a *customer) sleepThrough(ctx context.Context, meanwhile func() (done bool, err error)) error {
	if err := a.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	ticker := time.NewTicker(tryEvery)
	defer ticker.Stop()
	for {
		done, err := meanwhile()
		if err != nil {
			return err
		}
		if done {
			return a.cmd.Process.Signal(syscall.SIGCONT)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// confirm tells her to go on, and gives what she was answered.
func (a *customer) confirm() (string, error) {
	if _, err := io.WriteString(a.in, "go on\n"); err != nil {
		return "", err
	}
	return a.read()
}

func (a *customer) end() {
	_ = a.cmd.Process.Kill() // it may be gone already
	_ = a.cmd.Wait()         // was killed, which is no news
}

// Customer is ann's process. It holds the seat, says so, waits for a line, which
// is when it is stopped, and confirms.
func Customer(ctx context.Context, system, addr string, in io.Reader, out io.Writer) error {
	confirm, err := holdIn(ctx, system, addr)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "held")
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, confirm())
	return err
}

func holdIn(ctx context.Context, system, addr string) (confirm func() string, err error) {
	if system == "redis" {
		return holdInRedis(ctx, addr)
	}
	c, err := client.Dial(ctx, []string{addr}, nil)
	if err != nil {
		return nil, err
	}
	ev, err := c.Event(ctx, "event-1")
	if err != nil {
		return nil, err
	}
	hold, err := ev.Hold(ctx, client.HoldRequest{Seats: []wire.SeatID{seat}, Buyer: "ann", TTL: lockTTL})
	if err != nil {
		return nil, err
	}
	return func() string {
		if err := hold.Confirm(ctx); err != nil {
			return client.StatusOf(err).String()
		}
		return "booked"
	}, nil
}

const (
	lockKey     = "lock:seat:7"
	bookingsKey = "bookings:seat:7"
)

// holdInRedis does what the documentation of SET shows: a lock with an end. Just
// before she writes she looks whether it still is hers. It is; and then she is
// stopped.
func holdInRedis(ctx context.Context, addr string) (confirm func() string, err error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		return nil, err
	}
	held, err := lock(ctx, c, "ann")
	if err != nil || !held {
		return nil, fmt.Errorf("the seat is locked: %w", err)
	}
	owner, err := c.Do(ctx, c.B().Get().Key(lockKey).Build()).ToString()
	if err != nil || owner != "ann" {
		return nil, fmt.Errorf("the lock is %q: %w", owner, err)
	}
	return func() string {
		if err := book(ctx, c, "ann"); err != nil {
			return err.Error()
		}
		return "booked"
	}, nil
}

// lock takes the lock of the seat for a time, if nobody has it.
func lock(ctx context.Context, c rueidis.Client, who string) (bool, error) {
	err := c.Do(ctx, c.B().Set().Key(lockKey).Value(who).Nx().Px(lockTTL).Build()).Error()
	if rueidis.IsRedisNil(err) {
		return false, nil
	}
	return err == nil, err
}

// book writes a booking. It has no way to know whether the lock still holds.
func book(ctx context.Context, c rueidis.Client, who string) error {
	return c.Do(ctx, c.B().Rpush().Key(bookingsKey).Element(who).Build()).Error()
}
