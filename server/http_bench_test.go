package server

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkHTTPHold holds two adjacent seats per request over 64 connections of
// one client on the same machine; new events are made as they fill up.
func BenchmarkHTTPHold(b *testing.B) {
	const rows, pairs = 1000, 25 // 50,000 seats
	n := startNode(b, func(c *Config) { c.HTTP, c.Admin = "127.0.0.1:0", Off })
	client := &fasthttp.HostClient{Addr: n.HTTPAddr(), MaxConns: 64}
	post := func(path, body string) int {
		req, resp := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		defer fasthttp.ReleaseRequest(req)
		defer fasthttp.ReleaseResponse(resp)
		req.Header.SetMethod("POST")
		req.SetRequestURI("http://localhost" + path)
		req.Header.SetContentType(jsonMedia)
		req.SetBodyString(body)
		if err := client.Do(req, resp); err != nil {
			b.Error(err)
		}
		return resp.StatusCode()
	}
	for i := range b.N/(rows*pairs) + 1 {
		openHall(b, n, hall(fmt.Sprintf("e%d", i), rows, 2*pairs))
	}
	var next atomic.Int64
	b.SetParallelism(32) // times two cores
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1) - 1
			event, row, pair := i/(rows*pairs), i%(rows*pairs)/pairs, i%pairs
			body := fmt.Sprintf(`{"seats":["A-%d-%d","A-%d-%d"],"buyer":"b%d"}`, row+1, 2*pair+1, row+1, 2*pair+2, i)
			if code := post(fmt.Sprintf("/v1/events/e%d/holds", event), body); code != 201 {
				b.Errorf("hold %d: %d", i, code)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "holds/s")
}
