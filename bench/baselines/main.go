// Baselines compares Usher with what people use today for the same: PostgreSQL,
// Redis and etcd, each written as well as we know how. It is a module of its own,
// so that their client libraries are not those of whoever imports Usher.
//
//	go run .              measures, audits and prints one table
//	go run . wrong        shows what each alternative does wrong
//	go run . install      gets the servers that are missing
//
// docs/baselines.md has schemas, settings and results.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/usher-seats/usher/bench/baselines/inventory"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "baselines:", err)
		os.Exit(1)
	}
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "install":
			return install(ctx)
		case "wrong":
			return showWrong(ctx, args[1:], stdout)
		}
	}
	return measureAll(ctx, args, stdout, stderr)
}

// clientGC is how much this program's heap may grow between two collections, in
// percent: it is small, and would be collected hundreds of times a second.
const clientGC = 1_000

func measureAll(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var o options
	var only, workloads, data string
	var asJSON bool
	f := flag.NewFlagSet("baselines", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.IntVar(&o.runs, "runs", 3, "`number` of runs of which the table shows medians")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "`time` of each measurement")
	f.IntVar(&o.seats, "seats", 50_000, "`number` of seats of an event")
	f.Uint64Var(&o.seed, "seed", 1, "`number` that all random choices follow from")
	f.StringVar(&only, "systems", "", "only systems with one of these `words`, between commas, in their names, besides Usher")
	f.StringVar(&workloads, "workloads", strings.Join(all, ","), "`names` of workloads, between commas")
	f.StringVar(&data, "data", "", "`directory` in which data directories are made (temporary files' if not given)")
	f.BoolVar(&asJSON, "json", false, "print all results as JSON")
	if err := f.Parse(args); err != nil {
		return err
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%q is no command; there are: wrong, install, and none, which measures", f.Arg(0))
	}
	o.systems = chosen(only)
	o.workloads = strings.Split(workloads, ",")
	for _, w := range o.workloads {
		if !slices.Contains(all, w) {
			return fmt.Errorf("no workload %q; there are %s", w, strings.Join(all, ", "))
		}
	}
	if o.runs < 1 || o.duration <= 0 || o.seats < inventory.MinSeats {
		return fmt.Errorf("%d runs of %v with %d seats: want at least one of some time with %d seats", o.runs, o.duration, o.seats, inventory.MinSeats)
	}
	// Client libraries make garbage of different amounts, which is not what is compared.
	debug.SetGCPercent(clientGC)
	p, err := findPrograms(ctx, data)
	if err != nil {
		return err
	}
	defer p.close()
	r := newReport(o)
	r.HugePages = p.hugePages
	if r.Cells, err = compare(ctx, p, o, stderr); err != nil {
		return err
	}
	if asJSON {
		return r.writeJSON(stdout)
	}
	return r.writeTable(stdout, o)
}

// chosen are Usher and the systems with one of the words in their names.
func chosen(words string) []system {
	if words == "" {
		return systems
	}
	return slices.DeleteFunc(slices.Clone(systems), func(s system) bool {
		return s.name != yardstick && !slices.ContainsFunc(strings.Split(words, ","), func(word string) bool {
			return strings.Contains(strings.ToLower(s.name), strings.ToLower(word))
		})
	})
}
