// Command usher is a seat inventory server and the tools that go with it.
//
// Its main parses, wires and waits: what a subcommand does is in the packages
// server, client and bench.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes. raftlog.ExitDiskFailure is one more.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
)

// A command is one of usher's subcommands. run gets the arguments after its
// name and returns a usageError if they make no sense.
type command struct {
	name    string
	summary string // one line for the list of commands
	run     func(ctx context.Context, args []string, stdout, stderr io.Writer) error
}

// commands are all subcommands, in the order in which help lists them.
func commands() []command {
	return []command{
		{"serve", "run a node", serve},
		{"demo", "sell an event out, in front of your eyes", demo},
		{"bench", "put load on a node, measure, and audit", benchmark},
		{"admin", "look after a cluster", admin},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends the process at once
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(exitCode(err, os.Stderr))
}

// run finds the subcommand and runs it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		printCommands(stderr)
		return usageError{"say which command to run"}
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help", "-h", "-help", "--help":
		if len(rest) == 0 {
			printCommands(stdout)
			return nil
		}
		name, rest = rest[0], []string{"-h"}
	}
	for _, c := range commands() {
		if c.name == name {
			return c.run(ctx, rest, stdout, stderr)
		}
	}
	return usageError{fmt.Sprintf("there is no command %q: `usher help` lists them", name)}
}

func printCommands(w io.Writer) {
	fmt.Fprint(w, "Usher decides who holds which seat, and never sells one seat twice.\n\nusage: usher COMMAND [FLAGS]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-8s %s\n", c.name, c.summary)
	}
	fmt.Fprint(w, "\n`usher COMMAND -h` explains a command and its flags.\n")
}

// A usageError is a command line that makes no sense.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

// exitCode says on stderr, in one line, what went wrong, and how to exit.
func exitCode(err error, stderr io.Writer) int {
	var usage usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "usher: %s\n", oneLine(err))
		return exitUsage
	}
	fmt.Fprintf(stderr, "usher: %s\n", oneLine(err))
	return exitFailed
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
