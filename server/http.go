package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fasthttp/router"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/server/live"
	"github.com/usher-seats/usher/wire"
)

// Limits of the HTTP listeners. fasthttp's own defaults are "for ever" and
// 4 MiB.
const (
	maxHTTPHeader    = 16 << 10         // bytes of a request's line and headers
	httpWriteBuffer  = 32 << 10         // bytes per connection: a packed map of 50,000 seats, or two, is one write
	maxHTTPBody      = 1 << 20          // bytes of a body
	maxManifestBody  = 32 << 20         // bytes of a body that creates an event
	httpReadTimeout  = 10 * time.Second // for a whole request, from its first byte
	bigReadTimeout   = 60 * time.Second // the same for a body above maxHTTPBody
	httpWriteTimeout = 30 * time.Second // for a whole answer
	httpIdleTimeout  = 75 * time.Second // above the 60 s of common load balancers, so that they close first
)

// A route is one call: what the router, the OpenAPI document and the metrics
// know of it. Immutable.
type route struct {
	method string
	path   string
	name   string // operationId in docs/openapi.yaml, label in metrics
	role   wire.Role
	access access
	handle func(*request) *problem
}

// access says who is served without a key.
type access uint8

const (
	keyed    access = iota // nobody
	visitors               // everybody, if the node is told to serve the public
	everybody
)

// A frontend is an HTTP listener with its routes: the one for buyers' frontends
// or the one for operators. Its fields are set before it serves; the counters
// are atomic.
type frontend struct {
	n       *Node
	name    string
	log     *slog.Logger
	gate    *gate
	server  *fasthttp.Server
	stats   map[string]*routeStats // by route name; immutable map
	metrics *prometheus.Registry   // nil but for the admin listener
	served  chan struct{}          // closed when Serve has returned
	began   time.Time

	// trusted says that the listener is bound to loopback. Without keys it then
	// serves everybody who comes to it by a local name.
	trusted bool
	// keyless says that local callers need no key even if there are keys.
	keyless bool

	// patching makes changes of rules wait for each other.
	patching sync.Mutex

	panics atomic.Uint64
	ended  atomic.Uint64 // requests refused before a route was found or read
}

// httpState is the part of a Node that serves HTTP: set by Start, read by Close.
type httpState struct {
	http  *frontend // nil: off
	admin *frontend // nil: off
	live  *live.Hub // nil: no http
}

// HTTPAddr is the address of the HTTP frontend, "" if there is none.
func (n *Node) HTTPAddr() string { return n.http.address() }

// AdminAddr is the address of the admin listener, "" if there is none.
func (n *Node) AdminAddr() string { return n.admin.address() }

// startHTTP serves the API for booking frontends.
func (n *Node) startHTTP() error {
	if n.cfg.HTTP == Off {
		return nil
	}
	if err := n.startLive(); err != nil {
		return err
	}
	f := newFrontend(n, "http", slices.Concat(apiRoutes(), pageRoutes()))
	if err := f.listen(n.cfg.HTTP, n.cfg.MaxHTTPConns, n.cfg.MaxHTTPConnsPerIP); err != nil {
		return err
	}
	n.http = f
	f.start(n.tls)
	return nil
}

// stopHTTP refuses new connections, closes streams and waits for the requests being
// served.
func (n *Node) stopHTTP(ctx context.Context) error {
	if n.live != nil {
		n.live.Close()
	}
	return n.http.stop(ctx)
}

// newFrontend makes a frontend that does not listen yet.
func newFrontend(n *Node, name string, routes []route) *frontend {
	f := &frontend{
		n:      n,
		name:   name,
		log:    n.log.With("listener", name),
		stats:  make(map[string]*routeStats, len(routes)),
		served: make(chan struct{}),
		began:  time.Now(),
	}
	f.server = &fasthttp.Server{
		Handler:                      f.handler(routes),
		ErrorHandler:                 f.unreadable,
		HeaderReceived:               f.bodyLimit,
		Name:                         "usher",
		ReadBufferSize:               maxHTTPHeader,
		WriteBufferSize:              httpWriteBuffer,
		ReadTimeout:                  httpReadTimeout,
		WriteTimeout:                 httpWriteTimeout,
		IdleTimeout:                  httpIdleTimeout,
		MaxRequestBodySize:           maxHTTPBody,
		DisablePreParseMultipartForm: true,
		NoDefaultContentType:         true,
		CloseOnShutdown:              true,
		SecureErrorLogMessage:        true,
		KeepHijackedConns:            true, // they are the hub's, which closes them
		Logger:                       fasthttpLog{f.log},
	}
	return f
}

// handler routes requests and survives whatever happens on the way.
func (f *frontend) handler(routes []route) fasthttp.RequestHandler {
	r := router.New()
	// A redirect would make a client send its key, and a hold, to a path that it
	// did not mean.
	r.RedirectTrailingSlash, r.RedirectFixedPath = false, false
	for i := range routes {
		rt := &routes[i]
		s := new(routeStats)
		f.stats[rt.name] = s
		h := f.serve(rt, s)
		r.Handle(rt.method, rt.path, h)
		if rt.method == fasthttp.MethodGet {
			r.Handle(fasthttp.MethodHead, rt.path, h)
		}
	}
	r.NotFound = func(ctx *fasthttp.RequestCtx) { f.refuse(ctx, httpProblem(codeNotFound)) }
	r.MethodNotAllowed = func(ctx *fasthttp.RequestCtx) { f.refuse(ctx, httpProblem(codeMethod)) }
	return func(ctx *fasthttp.RequestCtx) {
		defer f.caught(ctx)
		r.Handler(ctx)
	}
}

// listen opens the frontend's address. Nothing is accepted before start.
func (f *frontend) listen(addr string, conns, perIP int) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("listen for %s: %w", f.name, err)
	}
	f.gate = newGate(ln, conns, perIP)
	f.trusted = loopbackAddr(ln.Addr())
	return nil
}

// start serves on the frontend's address until stop.
func (f *frontend) start(config *tls.Config) {
	f.server.Concurrency = f.gate.most + 1 // the gate refuses first, with a problem that can be read
	ln := net.Listener(f.gate)
	if config != nil {
		f.gate.mute = true
		ln = tls.NewListener(ln, config)
	}
	go func() {
		defer close(f.served)
		if err := f.server.Serve(ln); err != nil {
			f.log.Error("HTTP listener ended", "error", err)
		}
	}()
}

// stop is safe on a frontend that was never started.
func (f *frontend) stop(ctx context.Context) error {
	if f == nil {
		return nil
	}
	// fasthttp does not know its listener before Serve has run a little: a stop
	// right after the start would close nothing, and Serve would accept for ever.
	err := f.gate.Close()
	err = errors.Join(err, f.server.ShutdownWithContext(ctx))
	<-f.served
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// address is where the frontend listens; empty if it does not.
func (f *frontend) address() string {
	if f == nil {
		return ""
	}
	return f.gate.Addr().String()
}

// bodyLimit lets only those who may create events send large bodies: a stranger
// costs the node a megabyte at most.
func (f *frontend) bodyLimit(h *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if !h.IsPost() || string(h.RequestURI()) != eventsPath {
		return fasthttp.RequestConfig{}
	}
	if f.allowed(apiKey(h), string(h.Host()), wire.RoleOperate) != nil {
		return fasthttp.RequestConfig{}
	}
	return fasthttp.RequestConfig{ReadTimeout: bigReadTimeout, MaxRequestBodySize: maxManifestBody}
}

// unreadable answers a request that could not be read to its end. The
// connection is closed after it.
func (f *frontend) unreadable(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var timeout net.Error
	var p *problem
	switch {
	case errors.As(err, &small):
		p = httpProblem(codeHeaderLarge)
	case errors.Is(err, fasthttp.ErrBodyTooLarge):
		p = statusProblem(wire.StatusTooLarge)
		p.detail = fmt.Sprintf("A body may have %d bytes, and one that creates an event %d if its key may operate.", maxHTTPBody, maxManifestBody)
	case errors.As(err, &timeout) && timeout.Timeout():
		p = httpProblem(codeSlow)
	default:
		p = badRequest("", "This is not a request in HTTP/1.1.")
	}
	if c, ok := underlying(ctx.Conn()).(*gatedConn); ok {
		c.linger.Store(true)
	}
	f.refuse(ctx, p)
}

// refuse answers where no route does.
func (f *frontend) refuse(ctx *fasthttp.RequestCtx, p *problem) {
	f.ended.Add(1)
	writeProblem(ctx, p, requestID(ctx))
}

// loopbackAddr reports whether only this machine can reach the address.
func loopbackAddr(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// fasthttpLog hands what fasthttp logs to slog, as details: it is about single
// connections, and anybody who can reach the node could fill the log with it.
type fasthttpLog struct{ log *slog.Logger }

func (l fasthttpLog) Printf(format string, args ...any) {
	l.log.Debug(fmt.Sprintf(format, args...))
}
