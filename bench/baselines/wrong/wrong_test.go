package wrong

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/usher-seats/usher/bench/baselines/postgres"
	"github.com/usher-seats/usher/bench/baselines/redis"
	"github.com/usher-seats/usher/bench/baselines/usher"
)

// asCustomer makes this test program a customer instead.
const asCustomer = "customer"

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == asCustomer {
		if err := Customer(context.Background(), os.Args[2], os.Args[3], os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func config(t *testing.T) *Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &Config{Usher: filepath.Join("..", "..", "..", "bin", "usher"), Self: []string{self, asCustomer}}
	if err := usher.Usable(c.Usher); err != nil {
		t.Skip(err)
	}
	return c
}

func (c *Config) withPostgres(t *testing.T) {
	t.Helper()
	bin, err := postgres.Programs()
	if err != nil {
		t.Skip(err)
	}
	if c.Template, err = postgres.MakeTemplate(t.Context(), bin, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Template.Remove)
}

func (c *Config) withRedis(t *testing.T) {
	t.Helper()
	var err error
	if c.Redis, err = redis.Program(); err != nil {
		t.Skip(err)
	}
}

func TestFence(t *testing.T) {
	c := config(t)
	c.withRedis(t)
	r, err := Fence(t.Context(), c, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Redis) != 2 {
		t.Errorf("with the lock the seat was booked by %v: the experiment shows nothing", r.Redis)
	}
	if !slices.Equal(r.Usher, []string{"bob"}) || r.Refusal != "lost" {
		t.Errorf("Usher: booked by %v, ann was told %q", r.Usher, r.Refusal)
	}
}

func TestKill(t *testing.T) {
	c := config(t)
	c.withRedis(t)
	losses, err := Kill(t.Context(), c, KillOptions{Load: 300 * time.Millisecond}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range losses {
		if l.Acknowledged == 0 {
			t.Errorf("%s: nothing was acknowledged before the kill", l.System)
		}
		switch l.System {
		case "Redis, no persistence":
			if l.Lost == 0 {
				t.Errorf("%s has lost nothing: the experiment shows nothing", l.System)
			}
		case "Redis, AOF always", "Usher":
			if l.Lost != 0 {
				t.Errorf("%s has lost %d of %d", l.System, l.Lost, l.Acknowledged)
			}
		}
	}
}

// The experiments whose results are times are tested for going through; what they
// measure depends on what else the machine does.
func TestCronAndLong(t *testing.T) {
	if testing.Short() {
		t.Skip("these take as long as a sweeper lags")
	}
	c := config(t)
	c.withPostgres(t)
	cron, err := Cron(t.Context(), c, CronOptions{Every: 2 * time.Second, Holds: 40, TTL: 500 * time.Millisecond}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(cron.Swept) != 40 || len(cron.Usher) != 40 {
		t.Errorf("of 40 holds %d and %d came back", len(cron.Swept), len(cron.Usher))
	}
	long, err := Long(t.Context(), c, LongOptions{Stall: time.Second, Clients: 4, Wanted: 20}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	if len(long.PostgresDuring) == 0 || len(long.UsherDuring) == 0 {
		t.Error("nothing was measured")
	}
}
