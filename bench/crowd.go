package bench

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// CrowdOptions say what a crowd watches.
type CrowdOptions struct {
	HTTP        string        `json:"http"` // address of the node's HTTP frontend
	Path        string        `json:"path"` // of the stream
	Key         string        `json:"key,omitempty"`
	WebSocket   bool          `json:"websocket,omitempty"`
	Subscribers int           `json:"subscribers"`
	Patience    time.Duration `json:"patience"` // for all of them to be there
}

// A Crowd is many subscribers of one stream. Stop closes it and tells what it saw.
type Crowd interface {
	// Mark begins a new part of the report.
	Mark(name string) error
	Stop() (*CrowdReport, error)
}

// A CrowdReport is what a crowd saw, part by part.
type CrowdReport struct {
	Parts []CrowdPart `json:"parts"`
	Lost  int         `json:"lost"`  // subscribers whose stream ended early
	Error string      `json:"error"` // why the first of them did
}

// A CrowdPart counts frames from one mark to the next.
type CrowdPart struct {
	Name    string     `json:"name"`
	Frames  int64      `json:"frames"` // that subscribers got
	Bytes   int64      `json:"bytes"`
	Resyncs int64      `json:"resyncs"`
	Seen    []Sighting `json:"seen"`
}

// A Sighting is that subscribers who knew From were told of To.
type Sighting struct {
	From  uint64 `json:"from"`
	To    uint64 `json:"to"`
	First int64  `json:"first"` // millisecond, in Unix time, of the first of At
	At    []int  `json:"at"`    // subscribers by millisecond
}

// spareFiles are what a process needs beside its subscribers' sockets.
const spareFiles = 64

// sources are the loopback addresses that a crowd comes from: one has only so many
// ports.
const sources = 250

// crowdRequest is what each subscriber sends.
func crowdRequest(o CrowdOptions) []byte {
	b := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n", o.Path, o.HTTP)
	if o.Key != "" {
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", o.Key)
	}
	if o.WebSocket {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"...)
	}
	return append(b, "\r\n"...)
}

// streamPath is the path of an event's stream.
func streamPath(template, event string) string {
	return strings.ReplaceAll(template, "{event}", url.PathEscape(event))
}

// crowdTarget is where a crowd connects to.
func crowdTarget(addr string) (ip [4]byte, port int, err error) {
	a, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return ip, 0, fmt.Errorf("address of the streams: %w", err)
	}
	return [4]byte(a.IP.To4()), a.Port, nil
}
