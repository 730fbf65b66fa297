package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// An adminAction is one thing that `usher admin` does.
type adminAction struct {
	name    string
	args    []string // names of its arguments
	summary string
	run     func(a *adminCall, ctx context.Context) error
}

func adminActions() []adminAction {
	return []adminAction{
		{"cluster", nil, "show the node, its groups and what they carry", (*adminCall).cluster},
		{"events", nil, "list the events", (*adminCall).events},
		{"event", []string{"KEY"}, "show an event: rules, and counts by section and category", (*adminCall).event},
		{"create-event", []string{"FILE"}, "create an event from a manifest in JSON (- for standard input)", (*adminCall).createEvent},
		{"delete-event", []string{"KEY"}, "delete an event with all its holds and bookings", (*adminCall).deleteEvent},
		{"keys", nil, "list the API keys", (*adminCall).keys},
		{"add-key", []string{"NAME", "ROLE"}, "make an API key that may read, sell or operate, and print it once", (*adminCall).addKey},
		{"drop-key", []string{"NAME"}, "remove an API key", (*adminCall).dropKey},
	}
}

func aboutAdmin() string {
	var b strings.Builder
	b.WriteString("Looks after a cluster through one of its nodes. ACTION is one of:\n\n")
	tw := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, a := range adminActions() {
		fmt.Fprintf(tw, "  %s\t%s\n", strings.Join(append([]string{a.name}, a.args...), " "), a.summary)
	}
	tw.Flush()
	b.WriteString("\nFlags come after the action: usher admin events --addr 10.0.0.1:7700")
	return b.String()
}

// An adminCall is one invocation.
type adminCall struct {
	connect connectFlags
	admin   string // URL of the admin listener
	asJSON  bool
	timeout time.Duration
	args    []string
	stdout  io.Writer
	stdin   io.Reader
}

func admin(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	a := &adminCall{stdout: stdout, stdin: os.Stdin}
	f := newFlags("admin")
	a.connect.register(f, "`address` of a node's binary protocol", "127.0.0.1:7700")
	f.StringVar(&a.admin, "admin-url", "http://127.0.0.1:9090", "`URL` of a node's admin listener")
	f.BoolVar(&a.asJSON, "json", false, "print JSON")
	f.DurationVar(&a.timeout, "timeout", 30*time.Second, "`time` that the action may take")
	if len(args) == 0 || strings.HasPrefix(args[0], "-") {
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
	for len(rest) > 0 && len(a.args) < len(action.args) && (rest[0] == "-" || !strings.HasPrefix(rest[0], "-")) {
		a.args, rest = append(a.args, rest[0]), rest[1:]
	}
	if err := parse(f, rest, aboutAdmin(), stdout); err != nil {
		return err
	}
	if len(a.args) != len(action.args) || f.NArg() > 0 {
		return usageError{fmt.Sprintf("usage: usher admin %s", strings.Join(append([]string{action.name}, action.args...), " "))}
	}
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	return action.run(a, ctx)
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

// http asks the admin listener, and decodes the answer into out if it is not nil.
func (a *adminCall) http(ctx context.Context, method, path string, in, out any) error {
	var body bytes.Buffer
	if in != nil {
		if err := json.NewEncoder(&body).Encode(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(a.admin, "/")+path, &body)
	if err != nil {
		return usageError{fmt.Sprintf("--admin-url %s: %v", a.admin, err)}
	}
	req.Header.Set("Content-Type", "application/json")
	key, err := a.connect.apiKey()
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	tlsConfig, err := a.connect.tlsConfig()
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return readAnswer(resp, out)
}

func readAnswer(resp *http.Response, out any) error {
	if resp.StatusCode >= http.StatusBadRequest {
		var problem struct{ Title, Detail string }
		if err := json.NewDecoder(resp.Body).Decode(&problem); err != nil || problem.Title == "" {
			return errors.New("the node answered " + resp.Status)
		}
		return fmt.Errorf("%s: %s", problem.Title, problem.Detail)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("read the node's answer: %w", err)
	}
	return nil
}

// print writes v as JSON, or as the table that rows makes.
func (a *adminCall) print(v any, rows func(w io.Writer)) error {
	if a.asJSON {
		enc := json.NewEncoder(a.stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 8, 2, ' ', 0)
	rows(tw)
	return tw.Flush()
}

func (a *adminCall) cluster(ctx context.Context) error {
	var c struct {
		Cluster string `json:"cluster"`
		Node    string `json:"node"`
		Uptime  int64  `json:"uptime_s"`
		Events  int    `json:"events"`
		Groups  []struct {
			Group    uint32 `json:"group"`
			Role     string `json:"role"`
			Leader   string `json:"leader"`
			Term     uint64 `json:"term"`
			Applied  uint64 `json:"applied_index"`
			Queued   int64  `json:"queued_operations"`
			LogBytes int64  `json:"log_bytes"`
			Snapshot uint64 `json:"snapshot_index"`
			Events   *int   `json:"events,omitempty"`
		} `json:"groups"`
	}
	if err := a.http(ctx, http.MethodGet, "/admin/cluster", nil, &c); err != nil {
		return err
	}
	return a.print(c, func(w io.Writer) {
		fmt.Fprintf(w, "cluster %s, node %s, up %v, %d events\n\n", c.Cluster, c.Node, time.Duration(c.Uptime)*time.Second, c.Events)
		fmt.Fprintln(w, "GROUP\tROLE\tLEADER\tTERM\tAPPLIED\tQUEUED\tLOG\tSNAPSHOT\tEVENTS")
		for _, g := range c.Groups {
			events := "-"
			if g.Events != nil {
				events = fmt.Sprint(*g.Events)
			}
			fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%d\t%d\t%.1f MiB\t%d\t%s\n", g.Group, g.Role, g.Leader, g.Term, g.Applied, g.Queued,
				float64(g.LogBytes)/(1<<20), g.Snapshot, events)
		}
	})
}

func (a *adminCall) events(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	type line struct {
		Key   string       `json:"key"`
		Event wire.EventID `json:"event"`
		Shard uint32       `json:"shard"`
	}
	lines := []line{}
	for e, err := range c.Events(ctx) {
		if err != nil {
			return err
		}
		lines = append(lines, line{e.Key, e.Event, e.Shard})
	}
	return a.print(lines, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tEVENT\tSHARD")
		for _, l := range lines {
			fmt.Fprintf(w, "%s\t%d\t%d\n", l.Key, l.Event, l.Shard)
		}
	})
}

func (a *adminCall) event(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ev, err := c.Event(ctx, a.args[0])
	if err != nil {
		return err
	}
	info, err := ev.Info(ctx)
	if err != nil {
		return err
	}
	m, err := ev.Manifest(ctx)
	if err != nil {
		return err
	}
	return a.print(info, func(w io.Writer) {
		fmt.Fprintf(w, "event %s (%s), sale %v, version %d\n\n", m.Key, m.Name, info.Sale, info.Version)
		fmt.Fprintln(w, "\tFREE\tHELD\tBOOKED\tBLOCKED")
		row := func(name string, c wire.Counts) {
			fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\n", name, c.Free, c.Held, c.Booked, c.Blocked)
		}
		for i, s := range m.Sections {
			row("section "+s.Name, info.Sections[i])
		}
		for i, s := range m.Areas {
			row("area "+s.Name, info.Sections[len(m.Sections)+i])
		}
		for i, name := range m.Categories {
			row("category "+name, info.Categories[i])
		}
		row("all", info.Total)
	})
}

func (a *adminCall) createEvent(ctx context.Context) error {
	in := a.stdin
	if a.args[0] != "-" {
		file, err := os.Open(a.args[0])
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return fmt.Errorf("read the manifest: %w", err)
	}
	m, err := wire.ParseManifest(text)
	if err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	ev, err := c.CreateEvent(ctx, m)
	if err != nil {
		return err
	}
	created := struct {
		Key   string       `json:"key"`
		Event wire.EventID `json:"event"`
		Seats int          `json:"seats"`
	}{ev.Key(), ev.ID(), m.Seats()}
	return a.print(created, func(w io.Writer) {
		fmt.Fprintf(w, "event %s has %d places\n", created.Key, created.Seats)
	})
}

func (a *adminCall) deleteEvent(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.DeleteEvent(ctx, a.args[0])
}

// An apiKey is a key as the admin listener shows it.
type apiKey struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Key  string `json:"key,omitempty"`
}

func (a *adminCall) keys(ctx context.Context) error {
	var list struct {
		Keys []apiKey `json:"keys"`
	}
	if err := a.http(ctx, http.MethodGet, "/admin/keys", nil, &list); err != nil {
		return err
	}
	return a.print(list, func(w io.Writer) {
		fmt.Fprintln(w, "NAME\tROLE")
		for _, k := range list.Keys {
			fmt.Fprintf(w, "%s\t%s\n", k.Name, k.Role)
		}
	})
}

func (a *adminCall) addKey(ctx context.Context) error {
	if _, ok := wire.ParseRole(a.args[1]); !ok {
		return usageError{fmt.Sprintf("there is no role %q: want read, sell or operate", a.args[1])}
	}
	var made apiKey
	if err := a.http(ctx, http.MethodPost, "/admin/keys", apiKey{Name: a.args[0], Role: a.args[1]}, &made); err != nil {
		return err
	}
	return a.print(made, func(w io.Writer) { fmt.Fprintln(w, made.Key) })
}

func (a *adminCall) dropKey(ctx context.Context) error {
	return a.http(ctx, http.MethodDelete, "/admin/keys/"+url.PathEscape(a.args[0]), nil, nil)
}
