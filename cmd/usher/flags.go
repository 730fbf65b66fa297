package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// newFlags makes the flag set of a subcommand. Its messages are printed by
// parse, once.
func newFlags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() {}
	return f
}

// parse reads the environment and then the arguments, which prevail. about
// explains the command in the help that -h prints on stdout, for which parse
// returns flag.ErrHelp.
func parse(f *flag.FlagSet, args []string, about string, stdout io.Writer) error {
	var bad error
	f.VisitAll(func(fl *flag.Flag) {
		value, ok := os.LookupEnv(envName(fl.Name))
		if !ok || bad != nil {
			return
		}
		if err := f.Set(fl.Name, value); err != nil {
			bad = usageError{fmt.Sprintf("%s=%q: %v", envName(fl.Name), value, err)}
		}
		if l, ok := fl.Value.(*listFlag); ok {
			l.said = false
		}
	})
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printHelp(stdout, f, about)
		return err
	case err != nil:
		return usageError{fmt.Sprintf("%v: `usher %s -h` explains the flags", err, f.Name())}
	}
	return bad
}

// A listFlag is a flag that may be given several times, with several values each,
// between commas. The first time replaces the values that it had.
type listFlag struct {
	values []string
	said   bool
}

func (l *listFlag) String() string { return strings.Join(l.values, ",") }

// Set takes one more occurrence of the flag.
func (l *listFlag) Set(text string) error {
	if !l.said {
		l.values, l.said = nil, true
	}
	for v := range strings.SplitSeq(text, ",") {
		if v = strings.TrimSpace(v); v == "" {
			return errors.New("a value is empty")
		}
		l.values = append(l.values, v)
	}
	return nil
}

// noArguments refuses what is left after the flags.
func noArguments(f *flag.FlagSet) error {
	if f.NArg() > 0 {
		return usageError{fmt.Sprintf("%s takes no argument %q: flags begin with --", f.Name(), f.Arg(0))}
	}
	return nil
}

// envName is the environment variable that stands for a flag.
func envName(flagName string) string {
	return "USHER_" + strings.ToUpper(strings.ReplaceAll(flagName, "-", "_"))
}

func printHelp(w io.Writer, f *flag.FlagSet, about string) {
	fmt.Fprintf(w, "usage: usher %s [FLAGS]\n\n%s\n\n", f.Name(), strings.TrimSpace(about))
	f.VisitAll(func(fl *flag.Flag) {
		value, text := flag.UnquoteUsage(fl)
		if value != "" {
			value = " " + strings.ToUpper(value)
		}
		fmt.Fprintf(w, "  --%s%s\n", fl.Name, value)
		fmt.Fprintf(w, "        %s\n", strings.ReplaceAll(text, "\n", "\n        "))
		if fl.DefValue != "" && fl.DefValue != "0" && fl.DefValue != "0s" && fl.DefValue != "false" {
			fmt.Fprintf(w, "        default %s\n", fl.DefValue)
		}
	})
	fmt.Fprintf(w, "\nEvery flag can be set in the environment too: --some-flag as %s.\n", envName("some-flag"))
}
