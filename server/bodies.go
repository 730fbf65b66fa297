package server

import (
	"context"
	"sync"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

const (
	// maxBodyBytes bounds the encoded maps and manifests that a node keeps.
	maxBodyBytes = 64 << 20
	// bodyBytes is what a body takes beside its bytes.
	bodyBytes = 512
)

// A bodyKey names a body: what of which event, in which form.
type bodyKey struct {
	kind   wire.Kind
	event  wire.EventID
	media  string
	coding string
}

// A body is an encoded answer. Immutable.
type body struct {
	of    *mapMark // the map that it shows; nil if it is no map
	bytes []byte
}

// A bodyCache keeps encoded and compressed answers, and gives each to all who want
// it: a thousand readers of a map cost one encoding. Within its bytes it forgets
// the least used first. Safe on any goroutine.
type bodyCache struct {
	mu      sync.Mutex
	kept    lru[bodyKey, *body]
	flights map[bodyKey]*flight
}

// A flight is a body that is being made. Its fields are set before done is closed.
type flight struct {
	done    chan struct{}
	body    *body
	problem *problem // why there is none; nil if that is nobody else's business
}

func newBodyCache(most int) *bodyCache {
	return &bodyCache{kept: newLRU[bodyKey, *body](most), flights: make(map[bodyKey]*flight)}
}

// get gives the body for a key: one that is kept and fits, or the one that somebody
// is making now, or one made by fill. Who waits for another does so within ctx. A
// failure is not kept; those who waited share it, unless it was that the time of
// the one who made it was over.
func (c *bodyCache) get(ctx context.Context, k bodyKey, fits func(*body) bool, fill func() (*body, *problem)) (*body, *problem) {
	for {
		c.mu.Lock()
		if b, ok := c.kept.get(k); ok && fits(b) {
			c.mu.Unlock()
			return b, nil
		}
		f := c.flights[k]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			c.flights[k] = f
			c.mu.Unlock()
			return c.fly(ctx, k, f, fill)
		}
		c.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, statusProblem(wire.StatusLate)
		}
		if f.body != nil {
			return f.body, nil
		}
		if f.problem != nil {
			shared := *f.problem // each adds the request's id to his own
			return nil, &shared
		}
	}
}

// fly makes the body of a flight. It lands even if fill panics.
func (c *bodyCache) fly(ctx context.Context, k bodyKey, f *flight, fill func() (*body, *problem)) (b *body, p *problem) {
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.flights, k)
		if b != nil {
			f.body = b
			c.kept.put(k, b, len(b.bytes)+bodyBytes)
		}
		close(f.done)
	}()
	b, p = fill()
	if p != nil && ctx.Err() == nil {
		shared := *p
		shared.extra = shared.extra[:len(shared.extra):len(shared.extra)]
		f.problem = &shared
	}
	return b, p
}

// put keeps a body that was made for one reader, unless the one that is kept is of
// a later version.
func (c *bodyCache) put(k bodyKey, b *body) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.kept.get(k); ok && old.of.version > b.of.version {
		return
	}
	c.kept.put(k, b, len(b.bytes)+bodyBytes)
}

// size is the bytes that are kept, with what they take beside.
func (c *bodyCache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept.bytes
}

// pack compresses a body in a content coding. It is sent even if it is no smaller.
func (n *Node) pack(coding string, bytes []byte) []byte {
	if coding == identity {
		return bytes
	}
	packed, _ := n.packers.pack(packings[coding], bytes)
	return packed
}

// formsVary is the Vary of what comes in several forms.
const formsVary = "Accept, Accept-Encoding"

// answerBody answers with a body out of the cache.
func (q *request) answerBody(media, coding string, b *body) {
	q.ctx.SetContentType(media)
	if coding != identity {
		q.ctx.Response.Header.Set(fasthttp.HeaderContentEncoding, coding)
	}
	q.ctx.Response.SetBodyRaw(b.bytes) // shared: nobody writes to it
}

// has reports whether the client has what the tag names.
func (q *request) has(etag string) bool {
	h := q.ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)
	return len(h) > 0 && etagMatches(string(h), etag)
}

// notModified answers 304. The headers are those that the body would have had.
func (q *request) notModified() {
	q.ctx.SetStatusCode(fasthttp.StatusNotModified)
	q.ctx.Response.SkipBody = true
}

// scope says who may keep the answer: everybody, if everybody may ask. What was
// given for a key is not for those who have none, so a cache on the way must not
// hand it out.
func (q *request) scope() string {
	if len(apiKey(&q.ctx.Request.Header)) > 0 {
		return "private"
	}
	return "public"
}
