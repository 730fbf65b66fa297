package front

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// do sends a request to nginx and returns the answer with its body.
func (h *house) do(method, path, body string, header map[string]string) (*http.Response, []byte) {
	h.t.Helper()
	resp, answer, err := h.try(method, h.url+path, body, header)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp, answer
}

func (h *house) try(method, url, body string, header map[string]string) (*http.Response, []byte, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp, answer, err
}

// event makes an event of 1,000 seats, past nginx.
func (h *house) event() {
	h.t.Helper()
	resp, answer, err := h.try("POST", "http://"+h.node.HTTPAddr()+"/v1/events",
		`{"key":"gala","name":"Gala","sections":[{"name":"A","category":"c","rows":[{"name":"1","seats":1000}]}]}`, nil)
	if err != nil || resp.StatusCode != http.StatusCreated {
		h.t.Fatalf("%v %s", err, answer)
	}
}

// mapReads is how many maps the node was asked for so far.
func (h *house) mapReads() int {
	h.t.Helper()
	_, text, err := h.try("GET", "http://"+h.node.AdminAddr()+"/metrics", "", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	sum := 0
	for _, m := range regexp.MustCompile(`(?m)^usher_http_requests_total\{[^}]*route="getSeats"[^}]*\} (\S+)$`).FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			h.t.Fatal(err)
		}
		sum += int(n)
	}
	return sum
}

const seats = "/v1/events/gala/seats"

// TestNginxCarriesTheReaders proves that readers without number cost the node one read a
// second and form, and that they do see what changes.
func TestNginxCarriesTheReaders(t *testing.T) {
	const readers, span = 32, 4 * time.Second
	h := newHouse(t)
	h.event()
	before, began := h.mapReads(), time.Now()
	var answers atomic.Int64
	var versions sync.Map
	var wg sync.WaitGroup
	for i := range readers {
		header := map[string]string{ // forms that mean the same
			"Accept":          []string{"application/octet-stream", "application/octet-stream, */*;q=0.1"}[i%2],
			"Accept-Encoding": []string{"gzip, deflate, br, zstd", "zstd", "zstd;q=1.0, gzip;q=0.5"}[i%3],
		}
		wg.Go(func() {
			for n := 0; time.Since(began) < span; n++ {
				resp, _, err := h.try("GET", fmt.Sprintf("%s%s?reader=%d-%d", h.url, seats, i, n), "", header)
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("%v %v", resp, err)
					return
				}
				versions.Store(resp.Header.Get("Usher-Version"), true)
				answers.Add(1)
			}
		})
	}
	for i := 0; time.Since(began) < span; i++ { // the map changes all the time
		resp, answer, err := h.try("POST", "http://"+h.node.HTTPAddr()+"/v1/events/gala/holds", fmt.Sprintf(`{"seats":["A-1-%d"]}`, 1+i%1000), nil)
		if err != nil || resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusConflict {
			t.Fatalf("%v %s", err, answer)
		}
	}
	wg.Wait()
	reads, seconds := h.mapReads()-before, int(time.Since(began)/time.Second)
	seen := 0
	versions.Range(func(any, any) bool { seen++; return true })
	t.Logf("%d readers got %d maps in %d s, of %d versions; the node was asked for %d", readers, answers.Load(), seconds, seen, reads)
	// A lone one at the beginning, and one for each second that was begun.
	if reads > seconds+2 {
		t.Errorf("%d readers in %d s cost the node %d reads", readers, seconds, reads)
	}
	if reads < 2 || seen < 2 {
		t.Errorf("the node was asked for %d maps, and readers saw %d versions", reads, seen)
	}
}

// TestNginxForms proves that each client gets a form and coding that it can read, from
// the cache as from the node, and that keys and ?consistent=1 go past the cache.
func TestNginxForms(t *testing.T) {
	h := newHouse(t)
	h.event()
	for range 2 { // from the node, then from the cache or the node
		for accept, media := range map[string]string{"text/html,*/*;q=0.8": "application/json", "application/octet-stream": "application/octet-stream"} {
			for codings, coding := range map[string]string{"": "", "gzip, deflate, br": "gzip", "gzip, zstd": "zstd", "zstd;q=0, gzip": "", "br": ""} {
				resp, body := h.do("GET", seats, "", map[string]string{"Accept": accept, "Accept-Encoding": codings})
				if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != media || resp.Header.Get("Content-Encoding") != coding {
					t.Errorf("%q and %q: %d, %s in %q", accept, codings, resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Content-Encoding"))
				}
				plain := unpack(t, coding, body)
				if media == "application/json" && !json.Valid(plain) || media != "application/json" && len(plain) != 16*16 {
					t.Errorf("%q and %q: a body of %d bytes", accept, codings, len(plain))
				}
			}
		}
	}
	for _, header := range []map[string]string{{"Authorization": "Bearer x"}, {"X-Usher-Key": "x"}} {
		resp, _ := h.do("GET", seats, "", header)
		if resp.Header.Get("X-Cache") != "BYPASS" || !strings.HasPrefix(resp.Header.Get("Cache-Control"), "private") {
			t.Errorf("with a key: %q, %q", resp.Header.Get("X-Cache"), resp.Header.Get("Cache-Control"))
		}
	}
	if resp, _ := h.do("GET", seats+"?consistent=1", "", nil); resp.StatusCode != 200 || resp.Header.Get("X-Cache") != "BYPASS" {
		t.Errorf("?consistent=1 is %q", resp.Header.Get("X-Cache"))
	}
	_, answer := h.do("GET", "/v1/events/gala", "", nil)
	var event struct{ Manifest string }
	if err := json.Unmarshal(answer, &event); err != nil {
		t.Fatal(err)
	}
	h.do("GET", event.Manifest, "", nil)
	if resp, _ := h.do("GET", event.Manifest, "", nil); resp.StatusCode != 200 || resp.Header.Get("X-Cache") != "HIT" {
		t.Errorf("the manifest is %d, %q", resp.StatusCode, resp.Header.Get("X-Cache"))
	}
	if resp, _ := h.do("GET", "/v1/events/gala/manifest?v="+strings.Repeat("0", 32), "", nil); resp.StatusCode != 404 {
		t.Errorf("a manifest that never was is %d", resp.StatusCode)
	}
}

func unpack(t *testing.T, coding string, body []byte) []byte {
	t.Helper()
	var r io.Reader = bytes.NewReader(body)
	var err error
	switch coding {
	case "gzip":
		r, err = gzip.NewReader(r)
	case "zstd":
		r, err = zstd.NewReader(r)
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// TestNginxPassesHolds proves that what changes something reaches the node each time,
// with its Idempotency-Key, although another node is dead, and that nothing is kept.
func TestNginxPassesHolds(t *testing.T) {
	h := newHouse(t)
	h.event()
	var first, second struct{ ID, State string }
	hold := func(v any) {
		t.Helper()
		resp, answer := h.do("POST", "/v1/events/gala/holds", `{"seats":["A-1-1"]}`, map[string]string{"Idempotency-Key": "k"})
		if resp.StatusCode != http.StatusCreated || json.Unmarshal(answer, v) != nil {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
	}
	hold(&first)
	hold(&second)
	if first.ID == "" || first.ID != second.ID {
		t.Errorf("one Idempotency-Key made the holds %q and %q", first.ID, second.ID)
	}
	path := "/v1/events/gala/holds/" + first.ID
	for _, want := range []string{"held", "released"} {
		var got struct{ State, Fence string }
		if _, answer := h.do("GET", path, "", nil); json.Unmarshal(answer, &got) != nil || got.State != want {
			t.Fatalf("the hold is %s, want %s", answer, want)
		}
		if want == "held" {
			if resp, answer := h.do("POST", path+"/release", fmt.Sprintf(`{"fence":%q}`, got.Fence), nil); resp.StatusCode != 200 {
				t.Fatalf("%d %s", resp.StatusCode, answer)
			}
		}
	}
}

// TestNginxPassesStreams proves that changes come through a stream as they happen, and
// that a socket is passed in both directions.
func TestNginxPassesStreams(t *testing.T) {
	h := newHouse(t)
	h.event()
	resp, err := h.client.Get(h.url + "/v1/events/gala/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	next := func(want string) {
		t.Helper()
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatalf("waiting for %q: %v", want, err)
			}
			if strings.HasPrefix(line, "event: ") {
				if line != "event: "+want+"\n" {
					t.Fatalf("%q, want %s", line, want)
				}
				return
			}
		}
	}
	next("map")
	for seat := range 3 { // each only when the one before has come
		if resp, answer := h.do("POST", "/v1/events/gala/holds", fmt.Sprintf(`{"seats":["A-1-%d"]}`, seat+1), nil); resp.StatusCode != http.StatusCreated {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
		next("delta")
	}

	if resp, answer, err := h.try("PUT", "http://"+h.node.HTTPAddr()+"/v1/events/gala/queue", `{"limit":5,"rate_per_s":1}`, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %s", err, answer)
	}
	conf := h.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	conf.NextProtos = nil // HTTP/1.1
	nc, err := tls.Dial("tcp", strings.TrimPrefix(h.url, "https://"), conf)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(nc, "GET /v1/events/gala/queue/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(nc)
	answer, err := http.ReadResponse(in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v %v", answer, err)
	}
	if op, text := message(t, in); op != 1 || !strings.Contains(text, `"state":"open"`) {
		t.Fatalf("a message of kind %d: %s", op, text)
	}
	if _, err := nc.Write([]byte{0x89, 0x82, 0, 0, 0, 0, 'h', 'i'}); err != nil { // a ping, masked with nothing
		t.Fatal(err)
	}
	for {
		op, text := message(t, in)
		if op == 10 && text == "hi" {
			return
		}
		if op != 1 {
			t.Fatalf("a message of kind %d instead of a pong: %q", op, text)
		}
	}
}

// message reads one message of a WebSocket (RFC 6455, section 5.2) that is at most
// 64 KiB long.
func message(t *testing.T, in *bufio.Reader) (op byte, text string) {
	t.Helper()
	var head [4]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		t.Fatal(err)
	}
	n := int(head[1])
	if n == 126 {
		if _, err := io.ReadFull(in, head[2:]); err != nil {
			t.Fatal(err)
		}
		n = int(head[2])<<8 | int(head[3])
	}
	body := make([]byte, n)
	if _, err := io.ReadFull(in, body); err != nil {
		t.Fatal(err)
	}
	return head[0] & 15, string(body)
}

// TestNginxAnswersPollers proves that many who ask how a queue stands cost the node one
// answer a second, and that those who join still reach it.
func TestNginxAnswersPollers(t *testing.T) {
	h := newHouse(t)
	h.event()
	if resp, answer, err := h.try("PUT", "http://"+h.node.HTTPAddr()+"/v1/events/gala/queue", `{"limit":5,"rate_per_s":1}`, nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v %s", err, answer)
	}
	hits := 0
	for range 200 {
		resp, answer := h.do("GET", "/v1/events/gala/queue", "", nil)
		if resp.StatusCode != http.StatusOK || !bytes.Contains(answer, []byte(`"state":"open"`)) {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
		if resp.Header.Get("X-Cache") == "HIT" {
			hits++
		}
	}
	if hits < 100 {
		t.Errorf("%d of 200 came out of the cache", hits)
	}
	seen := make(map[string]bool)
	for range 3 {
		resp, answer := h.do("POST", "/v1/events/gala/queue", "{}", nil)
		if resp.StatusCode != http.StatusCreated || seen[string(answer)] {
			t.Fatalf("%d %s", resp.StatusCode, answer)
		}
		seen[string(answer)] = true
	}
}
