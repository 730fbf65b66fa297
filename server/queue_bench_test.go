package server

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/client"
	"github.com/usher-seats/usher/wire"
)

// BenchmarkJoin has visitors join one event's waiting room over the Go client, on the
// same machine and a real disk: alone, so many at once, and a thousand per request.
// An operation is a number with its ticket.
func BenchmarkJoin(b *testing.B) {
	for _, c := range []struct {
		name    string
		callers int
		count   int
		one     bool
	}{
		{name: "alone", callers: 1, count: 1}, {name: "1024", callers: 1024, count: 1}, {name: "8192", callers: 8192, count: 1},
		{name: "thousands", callers: 16, count: wire.MaxJoins}, {name: "named", callers: 1024, count: 1, one: true},
	} {
		b.Run(c.name, func(b *testing.B) {
			n := startNode(b, func(c *Config) { c.HTTP, c.Admin = Off, Off })
			event := openHall(b, n, hall("gala", 10, 50))
			openRoom(b, n, event, func(r *wire.RoomConfig) { r.OnePerVisitor = c.one })
			cl, err := client.Dial(b.Context(), []string{n.Addr()}, &client.Options{Conns: 4})
			if err != nil {
				b.Fatal(err)
			}
			defer cl.Close()
			ev, err := cl.Event(b.Context(), "gala")
			if err != nil {
				b.Fatal(err)
			}
			before := heap()
			b.ResetTimer()
			var left atomic.Int64
			left.Store(int64(b.N))
			var crowd sync.WaitGroup
			for range c.callers {
				crowd.Go(func() {
					for {
						i := left.Add(int64(-c.count))
						if i <= int64(-c.count) {
							return
						}
						r := client.JoinRequest{Count: c.count}
						if c.one {
							r.Visitor = fmt.Sprint("visitor ", i)
						}
						if _, err := ev.JoinMany(context.Background(), r); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			crowd.Wait()
			b.StopTimer()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "joins/s")
			b.ReportMetric(float64(n.queue.joins.Load())/float64(max(1, n.queue.issues.Load())), "joins/operation")
			b.ReportMetric((heap()-before)/float64(b.N), "heap-B/join")
		})
	}
}

// heap is what is alive, in bytes.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// BenchmarkHTTPQueue joins, and reads the room, over 64 HTTP connections of one
// client on the same machine.
func BenchmarkHTTPQueue(b *testing.B) {
	n := startNode(b, func(c *Config) { c.Admin = Off })
	event := openHall(b, n, hall("gala", 10, 50))
	openRoom(b, n, event, nil)
	hc := &fasthttp.HostClient{Addr: n.HTTPAddr(), MaxConns: 64}
	for _, c := range []struct {
		name, method, body string
		code               int
	}{{"join", "POST", "{}", 201}, {"read", "GET", "", 200}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetParallelism(32) // times two cores
			b.RunParallel(func(pb *testing.PB) {
				req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
				defer fasthttp.ReleaseRequest(req)
				defer fasthttp.ReleaseResponse(resp)
				req.Header.SetMethod(c.method)
				req.SetRequestURI("http://localhost/v1/events/gala/queue")
				if c.body != "" {
					req.Header.SetContentType(jsonMedia)
					req.SetBodyString(c.body)
				}
				for pb.Next() {
					if err := hc.Do(req, resp); err != nil || resp.StatusCode() != c.code {
						b.Errorf("%v, %d %s", err, resp.StatusCode(), resp.Body())
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
