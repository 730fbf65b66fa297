package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-seats/usher/server"
)

// backupNode starts a node with the events that are named, and gives back how the
// tool reaches it.
func backupNode(t *testing.T, events ...string) []string {
	t.Helper()
	node, err := server.Start(t.Context(), server.Config{
		Data: t.TempDir(), Peer: "127.0.0.1:0", Listen: "127.0.0.1:0", HTTP: server.Off, Admin: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := node.Close(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	at := []string{"--addr", node.Addr(), "--admin-url", "http://" + node.AdminAddr()}
	for _, key := range events {
		file := filepath.Join(t.TempDir(), "manifest.json")
		manifest := `{"key":"` + key + `","sections":[{"name":"A","category":"stalls","rows":[{"name":"1","seats":10}]}]}`
		if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		usher(t, exitDone, "places", append([]string{"create-event", file}, at...)...)
	}
	return at
}

// usher runs an action of admin, which must exit with a code and say something.
func usher(t *testing.T, code int, want string, args ...string) string {
	t.Helper()
	stdout, stderr, got := invoke(t, append([]string{"admin"}, args...)...)
	if got != code || !strings.Contains(stdout+stderr, want) {
		t.Fatalf("%v: exit %d, %s%s; want exit %d and %q", args, got, stdout, stderr, code, want)
	}
	return stdout
}

// TestBackupAndRestore takes events from one cluster into another through a file.
func TestBackupAndRestore(t *testing.T) {
	from := backupNode(t, "gala", "matinee, second")
	dir := t.TempDir()
	file := filepath.Join(dir, "all.usher")
	admin := func(at []string, code int, want string, args ...string) string {
		t.Helper()
		return usher(t, code, want, append(args, at...)...)
	}
	admin(from, exitDone, "2 events backed up to "+file, "backup", file)
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the directory has %v, error %v", files, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v, error %v", info, err)
	}
	list := admin(nil, exitDone, "gala", "backup-list", file)
	if !strings.Contains(list, "matinee, second") || !strings.Contains(list, "HASH") {
		t.Errorf("the list is %s", list)
	}
	var events []backedUp
	if err := json.Unmarshal([]byte(admin(nil, exitDone, "", "backup-list", file, "--json")), &events); err != nil || len(events) != 2 || events[0].Free != 10 {
		t.Errorf("as JSON: %+v, error %v", events, err)
	}
	piped := admin(from, exitDone, "", "backup", "-", "--event", "matinee, second")
	if got, err := readBackup(strings.NewReader(piped), (*server.BackupEvent).Verify); err != nil || len(got) != 1 {
		t.Errorf("to standard output: %+v, error %v", got, err)
	}

	to := backupNode(t)
	admin(to, exitFailed, `no event "nope"`, "restore", file, "--event", "nope")
	admin(to, exitDone, "restored", "restore", file, "--event", "matinee, second")
	both := admin(to, exitDone, "exists", "restore", file)
	if strings.Count(both, "restored") != 1 {
		t.Errorf("the rest: %s", both)
	}
	admin(to, exitDone, "gala", "events")

	taken := backupNode(t, "gala")
	admin(taken, exitDone, "", "delete-event", "gala")
	admin(taken, exitDone, "restored", "restore", file)
	other := filepath.Join(dir, "other.usher")
	admin(backupNode(t, "gala", "second"), exitDone, "", "backup", other)
	refused := admin(taken, exitDone, "exists", "restore", other, "--event", "gala") // it is the same, nothing was sold
	if strings.Contains(refused, "refused") {
		t.Errorf("an event that is as it was: %s", refused)
	}
}

// TestBackupFails proves that nothing is left of a backup that is not whole, that a
// backup from before is, and that nothing is restored of a file that is damaged.
func TestBackupFails(t *testing.T) {
	from := backupNode(t, "gala")
	dir := t.TempDir()
	file := filepath.Join(dir, "all.usher")
	usher(t, exitDone, "1 events", append([]string{"backup", file}, from...)...)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	usher(t, exitFailed, `no event "nope"`, append([]string{"backup", file, "--event", "nope"}, from...)...)

	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(whole[:len(whole)-3])
	}))
	defer cut.Close()
	usher(t, exitFailed, "cut off", "backup", file, "--admin-url", cut.URL)
	usher(t, exitFailed, "cut off", "backup", "-", "--admin-url", cut.URL)
	if now, err := os.ReadFile(file); err != nil || !bytes.Equal(now, whole) {
		t.Errorf("the backup from before has changed, error %v", err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("left behind: %v, error %v", files, err)
	}
	usher(t, exitFailed, "no-such-dir", append([]string{"backup", filepath.Join(dir, "no-such-dir", "x")}, from...)...)

	asked := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		t.Error("a damaged backup was sent")
	}))
	defer asked.Close()
	whole[len(whole)/2] ^= 1
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	usher(t, exitFailed, "damaged", "restore", file, "--admin-url", asked.URL)
	usher(t, exitFailed, "damaged", "backup-list", file)
	usher(t, exitUsage, "1 to 64 bytes", "restore", file, "--event", "", "--admin-url", asked.URL)
}
