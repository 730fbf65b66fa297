package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/usher-seats/usher/server"
	"github.com/usher-seats/usher/wire"
)

// backupTime is what a backup or a restore may take if nothing else was said.
const backupTime = 24 * time.Hour

// takeTime gives actions that move a lot of data more time than others.
func (a *adminCall) takeTime(f *flag.FlagSet, action string) {
	said := false
	f.Visit(func(fl *flag.Flag) { said = said || fl.Name == "timeout" })
	if !said && (action == "backup" || action == "restore") {
		a.timeout = backupTime
	}
}

// eventFlags are the keys of events, one per occurrence of the flag: a key may have
// any character.
type eventFlags []string

func (e *eventFlags) String() string { return strings.Join(*e, " ") }

// Set takes one more occurrence of the flag.
func (e *eventFlags) Set(key string) error {
	if key == "" || len(key) > wire.MaxKeyLen {
		return fmt.Errorf("an event's key has 1 to %d bytes", wire.MaxKeyLen)
	}
	*e = append(*e, key)
	return nil
}

// A backedUp is an event in a backup, as it is printed.
type backedUp struct {
	Key      string      `json:"key"`
	Index    uint64      `json:"index"`
	Now      wire.Millis `json:"now_ms"`
	Version  string      `json:"version"`
	Free     uint32      `json:"free"`
	Held     uint32      `json:"held"`
	Booked   uint32      `json:"booked"`
	Blocked  uint32      `json:"blocked"`
	Holds    int         `json:"holds"`
	Bookings int         `json:"bookings"`
	Bytes    int         `json:"bytes"`
	Packed   int         `json:"packed_bytes"`
	Hash     string      `json:"hash"`
}

func (a *adminCall) backup(ctx context.Context) error {
	body, err := json.Marshal(map[string][]string{"events": a.only})
	if err != nil {
		return err
	}
	resp, err := a.send(ctx, "/admin/backup", "application/json", int64(len(body)), bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		if err != nil {
			return err
		}
		return problemOf(resp, answer)
	}
	if a.args[0] == "-" {
		_, err := readBackup(io.TeeReader(resp.Body, a.stdout), nil)
		return err
	}
	events, err := keepBackup(a.args[0], resp.Body)
	if err != nil {
		return err
	}
	return a.print(events, func(w io.Writer) { fmt.Fprintf(w, "%d events backed up to %s\n", len(events), a.args[0]) })
}

// keepBackup writes a backup under another name, and gives it its own when it is
// whole and on disk.
func keepBackup(path string, from io.Reader) (events []backedUp, err error) {
	part := path + ".part"
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) // it has the buyers of all events
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(part))
		}
	}()
	events, err = readBackup(io.TeeReader(from, file), nil)
	if err == nil {
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	if err := os.Rename(part, path); err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return events, nil // it is there; whether it outlives a power cut is up to the system
	}
	defer dir.Close()
	return events, dir.Sync()
}

// readBackup reads a backup to its end, and looks into each event with verify, if
// that is not nil.
func readBackup(from io.Reader, verify func(*server.BackupEvent) error) ([]backedUp, error) {
	b, err := server.OpenBackup(from)
	if err != nil {
		return nil, err
	}
	events := []backedUp{}
	for {
		e, err := b.Next()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err == nil && verify != nil {
			err = verify(e)
		}
		if err != nil {
			return nil, err
		}
		events = append(events, backedUp{
			e.Key, e.Index, e.Now, fmt.Sprint(e.Version), e.Seats.Free, e.Seats.Held, e.Seats.Booked, e.Seats.Blocked,
			e.Holds, e.Bookings, e.Size, e.PackedSize(), fmt.Sprintf("%016x", e.Hash),
		})
	}
}

func (a *adminCall) backupList(context.Context) error {
	file, err := os.Open(a.args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	events, err := readBackup(file, (*server.BackupEvent).Verify)
	if err != nil {
		return fmt.Errorf("%s: %w", a.args[0], err)
	}
	return a.print(events, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tENTRY\tVERSION\tFREE\tHELD\tBOOKED\tBLOCKED\tHOLDS\tBOOKINGS\tBYTES\tPACKED\tHASH")
		for _, e := range events {
			fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", e.Key, e.Index, e.Version, e.Free, e.Held, e.Booked, e.Blocked,
				e.Holds, e.Bookings, e.Bytes, e.Packed, e.Hash)
		}
	})
}

// A restored is what has become of an event of a backup.
type restored struct {
	Key    string `json:"key"`
	Result string `json:"result"`
	Reason string `json:"reason,omitempty"`
	Seats  struct {
		Free    uint32 `json:"free"`
		Held    uint32 `json:"held"`
		Booked  uint32 `json:"booked"`
		Blocked uint32 `json:"blocked"`
	} `json:"seats"`
	Holds    int    `json:"holds"`
	Bookings int    `json:"bookings"`
	Hash     string `json:"hash"`
}

func (a *adminCall) restore(ctx context.Context) error {
	file, err := os.Open(a.args[0])
	if err != nil {
		return err
	}
	defer file.Close()
	if err := a.mayRestore(file); err != nil {
		return fmt.Errorf("%s: %w", a.args[0], err)
	}
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	query := url.Values{"event": a.only}
	resp, err := a.send(ctx, "/admin/restore?"+query.Encode(), "application/octet-stream", size, file)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Title  string     `json:"title"`
		Detail string     `json:"detail"`
		Events []restored `json:"events"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("the node answered %s: %w", resp.Status, err)
	}
	err = a.printRestored(answer.Events)
	if resp.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s", answer.Title, answer.Detail))
	}
	return err
}

// mayRestore reads a whole backup before anything of it is restored, and looks
// whether it has what is asked for.
func (a *adminCall) mayRestore(from io.Reader) error {
	events, err := readBackup(from, nil)
	if err != nil {
		return err
	}
	for _, key := range a.only {
		if !slices.ContainsFunc(events, func(e backedUp) bool { return e.Key == key }) {
			return fmt.Errorf("the backup has no event %q: `usher admin backup-list` lists those it has", key)
		}
	}
	return nil
}

func (a *adminCall) printRestored(events []restored) error {
	return a.print(events, func(w io.Writer) {
		fmt.Fprintln(w, "KEY\tRESULT\tFREE\tHELD\tBOOKED\tBLOCKED\tHOLDS\tBOOKINGS\tHASH\tREASON")
		for _, e := range events {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", e.Key, e.Result, e.Seats.Free, e.Seats.Held, e.Seats.Booked, e.Seats.Blocked,
				e.Holds, e.Bookings, e.Hash, e.Reason)
		}
	})
}

// send posts a body to the first admin listener: what takes long is not begun again
// at another. The caller closes the answer's body.
func (a *adminCall) send(ctx context.Context, path, media string, size int64, body io.Reader) (*http.Response, error) {
	url := a.admins.values[0]
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(url, "/")+path, io.NopCloser(body))
	if err != nil {
		return nil, usageError{fmt.Sprintf("--admin-url %s: %v", url, err)}
	}
	req.ContentLength = size
	req.Header.Set("Content-Type", media)
	if err := a.authorize(req); err != nil {
		return nil, err
	}
	tlsConfig, err := a.connect.tlsConfig()
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}}).Do(req)
}
