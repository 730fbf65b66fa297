package proc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Resident is the memory of the process that is in RAM, in bytes.
func (n *Node) Resident() int64 {
	n.t.Helper()
	return n.status("VmRSS:")
}

// PeakResident is the most that Resident has been.
func (n *Node) PeakResident() int64 {
	n.t.Helper()
	return n.status("VmHWM:")
}

func (n *Node) status(field string) int64 {
	n.t.Helper()
	path := fmt.Sprintf("/proc/%d/status", n.Pid())
	text, err := os.ReadFile(path)
	if err != nil {
		n.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, field); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			if err != nil {
				n.t.Fatalf("%s: %v", path, err)
			}
			return kb << 10
		}
	}
	n.t.Fatalf("%s has no %s", path, field)
	return 0
}

// Metrics reads the node's metrics, by name with labels, such as
// usher_group_term{group="1"}.
func (n *Node) Metrics() map[string]float64 {
	n.t.Helper()
	values := make(map[string]float64)
	lines := bufio.NewScanner(bytes.NewReader(n.get("/metrics")))
	for lines.Scan() {
		name, value, ok := cutLast(lines.Text(), " ")
		if !ok || strings.HasPrefix(name, "#") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			n.t.Fatalf("metric %q: %v", lines.Text(), err)
		}
		values[name] = v
	}
	return values
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Sum adds up a metric over all its labels.
func Sum(metrics map[string]float64, name string) (sum float64) {
	for key, v := range metrics {
		if key == name || strings.HasPrefix(key, name+"{") {
			sum += v
		}
	}
	return sum
}

// Goroutines is what every goroutine of the node is doing.
func (n *Node) Goroutines() string {
	n.t.Helper()
	return string(n.get("/debug/pprof/goroutine?debug=1"))
}

func (n *Node) get(path string) []byte {
	n.t.Helper()
	resp, err := http.Get(n.Admin + path)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		n.t.Fatalf("GET %s: %s %v", path, resp.Status, err)
	}
	return body
}

// DirSize is the room that the files below dir take on the disk, in bytes. Files
// that go away meanwhile do not count.
func DirSize(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if os.IsNotExist(err) {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		if err == nil {
			size += allocated(info)
		}
		return err
	})
	return size, err
}

// allocated is what a file takes: Pebble allocates WALs before it writes them,
// and recycles them.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
