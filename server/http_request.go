package server

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/wire"
)

const (
	jsonMedia    = "application/json"
	problemMedia = "application/problem+json"
	packedMedia  = "application/octet-stream"

	headerRequestID = "X-Request-Id"
	headerTimeout   = "Usher-Timeout-Ms"
	headerIdemKey   = "Idempotency-Key"

	defaultBudget = 5 * time.Second
	maxBudget     = 30 * time.Second
	maxIdemKey    = 255 // bytes of an Idempotency-Key
	maxRequestID  = 64  // bytes of a client's own X-Request-Id
)

// A request is one HTTP request on its way through a handler. It belongs to the
// goroutine that serves it and dies with the handler, like the buffers of the
// fasthttp context: what is to live longer is copied.
type request struct {
	f   *frontend
	n   *Node
	ctx *fasthttp.RequestCtx
	id  string // of the request, for logs and answers

	budget context.Context // ends when the request's time is over
	event  wire.EventID    // set by locate
	key    string          // of the event
	now    wire.Millis     // the event's time at the last answer
}

// do carries a record to its end within the request's time.
func (q *request) do(r wire.Record) (wire.Status, []byte) {
	a := q.n.decide(q.budget, r)
	q.now = a.now
	return a.status, a.body
}

// serve makes a handler of a route: key, time limit, answer, count.
func (f *frontend) serve(rt *route, s *routeStats) fasthttp.RequestHandler {
	return func(ctx *fasthttp.RequestCtx) {
		began := time.Now()
		defer func() { s.count(ctx.Response.StatusCode(), time.Since(began)) }()
		defer f.caught(ctx) // before the count is taken
		q := &request{f: f, n: f.n, ctx: ctx, id: requestID(ctx)}
		if p := q.run(rt); p != nil {
			writeProblem(ctx, p, q.id)
			return
		}
		ctx.Response.Header.Set(headerRequestID, q.id)
	}
}

func (q *request) run(rt *route) *problem {
	if rt.access == visitors {
		q.shareWithOrigin()
	}
	if rt.access == keyed || rt.access == visitors && !q.n.cfg.Public {
		h := &q.ctx.Request.Header
		if p := q.f.allowed(apiKey(h), string(h.Host()), rt.role); p != nil {
			return p
		}
	}
	budget, p := q.timeout()
	if p != nil {
		return p
	}
	who := withActor(context.Background(), q.n.table().KeyName(sha256.Sum256(apiKey(&q.ctx.Request.Header))))
	ctx, cancel := context.WithTimeout(who, budget)
	defer cancel()
	q.budget = ctx
	return rt.handle(q)
}

// caught, deferred, turns a panic into a problem. fasthttp would let it end the
// process.
func (f *frontend) caught(ctx *fasthttp.RequestCtx) {
	r := recover()
	if r == nil {
		return
	}
	f.panics.Add(1)
	id := requestID(ctx)
	f.log.Error("panic while serving a request", "request", id, "method", string(ctx.Method()),
		"path", string(ctx.Path()), "panic", r, "stack", string(debug.Stack()))
	ctx.Response.Reset()
	writeProblem(ctx, httpProblem(codeInternal), id)
	ctx.SetConnectionClose()
}

// allowed checks that the caller may do what needs a role. Where nobody is asked
// for a key, because there are none or because this is the operator's own
// machine, a caller must come by a local name: otherwise a web page that had its
// own name point to 127.0.0.1 could send any request from a visitor's browser.
func (f *frontend) allowed(key []byte, host string, need wire.Role) *problem {
	role, ok := f.n.role(key)
	anybody := len(f.n.table().Keys()) == 0
	if f.keyless && f.trusted {
		role, ok, anybody = wire.RoleOperate, true, true
	}
	switch {
	case !ok:
		return statusProblem(wire.StatusUnauthorized)
	case role < need:
		p := statusProblem(wire.StatusForbidden)
		p.detail = fmt.Sprintf("This call needs a key with the role %s; yours has %s.", need, role)
		return p
	case anybody && f.trusted && (f.keyless || !f.n.cfg.Insecure):
		return localOnly(host)
	}
	return nil
}

// localOnly refuses a Host header that is not this machine's own name for
// itself.
func localOnly(host string) *problem {
	name := strings.ToLower(host)
	if bare, _, err := net.SplitHostPort(name); err == nil {
		name = bare
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	if err == nil && ip.IsLoopback() || name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return nil
	}
	p := statusProblem(wire.StatusForbidden)
	p.detail = "Without a key this node answers only requests to localhost or 127.0.0.1, and yours was to " +
		strconv.Quote(host) + ". Make a key (POST /admin/keys) and send it."
	return p
}

// apiKey is the key a request brings; empty if none. It aliases the header.
func apiKey(h *fasthttp.RequestHeader) []byte {
	const bearer = "Bearer "
	if a := h.Peek(fasthttp.HeaderAuthorization); len(a) > len(bearer) && bytes.EqualFold(a[:len(bearer)], []byte(bearer)) {
		return bytes.TrimSpace(a[len(bearer):])
	}
	return h.Peek("X-Usher-Key")
}

// requestID is the client's X-Request-Id if it is fit to be logged and sent
// back, or a new one.
func requestID(ctx *fasthttp.RequestCtx) string {
	const userValue = "usher.request"
	if id, ok := ctx.UserValue(userValue).(string); ok {
		return id
	}
	id := string(ctx.Request.Header.Peek(headerRequestID))
	if !plainToken(id, maxRequestID) {
		id = rand.Text()
	}
	ctx.SetUserValue(userValue, id)
	return id
}

// plainToken reports whether s is 1..most printable ASCII characters without
// space or quotes.
func plainToken(s string, most int) bool {
	if s == "" || len(s) > most {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// timeout is how long the request may take.
func (q *request) timeout() (time.Duration, *problem) {
	h := q.ctx.Request.Header.Peek(headerTimeout)
	if len(h) == 0 {
		return defaultBudget, nil
	}
	ms, err := strconv.ParseUint(string(h), 10, 32)
	budget := time.Duration(ms) * time.Millisecond
	if err != nil || ms == 0 || budget > maxBudget {
		return 0, badRequest(headerTimeout, fmt.Sprintf("The header %s must be a whole number of milliseconds from 1 to %d.",
			headerTimeout, maxBudget.Milliseconds()))
	}
	return budget, nil
}

// param is a segment of the path, decoded and copied.
func (q *request) param(name string) (string, *problem) {
	raw, _ := q.ctx.UserValue(name).(string)
	s, err := url.PathUnescape(raw)
	if err != nil {
		return "", badRequest(name, fmt.Sprintf("The path's part %q is not encoded as a URL is.", raw))
	}
	return strings.Clone(s), nil
}

// locate finds the event of the path.
func (q *request) locate() *problem {
	key, p := q.param("event")
	if p != nil {
		return p
	}
	loc, ok := q.n.locate(key)
	if !ok {
		return q.locateSurely(key)
	}
	q.event, q.key = loc.Event, key
	return nil
}

// locateSurely asks the directory's leader for an event that this node does not
// know: it may have been made through another one a moment ago.
func (q *request) locateSurely(key string) *problem {
	r := wire.Record{Kind: wire.KindLocate, Flags: wire.FlagConsistent, Body: (&wire.Key{Key: []byte(key)}).Append(nil)}
	var loc wire.Location
	if status, body := q.do(r); status != wire.StatusOK {
		return unread(status, body, nil)
	} else if err := loc.Decode(body); err != nil {
		return q.broken(r.Kind, err)
	}
	q.event, q.key = loc.Event, key
	return nil
}

// pathID is the hold's or booking's id in the path.
func (q *request) pathID() (wire.ID, *problem) {
	s, p := q.param("id")
	if p != nil {
		return wire.ID{}, p
	}
	id, err := wire.ParseID(s)
	if err != nil {
		return id, badRequest("id", sentence(err.Error()))
	}
	return id, nil
}

// mutation begins an operation on the event of the path. Whoever leads the event's
// shard gives it the end of the request's time as its deadline, so whatever becomes
// of it, it cannot strike after that.
func (q *request) mutation(id wire.ID) wire.Mutation {
	return wire.Mutation{Event: q.event, ID: id}
}

// An operationID is the id of an operation and where it came from.
type operationID struct {
	id wire.ID
	// flags has FlagRepeat if the client chose the id. Such a request may be a
	// repeat of one that is still on its way through the log, so it must not be
	// turned away by a look at the seats alone.
	flags wire.Flags
}

// operationID is the id for a call: the body's "id", or a hash of the
// Idempotency-Key and what it is for, or a new one.
func (q *request) operationID(call, given string) (operationID, *problem) {
	key := string(q.ctx.Request.Header.Peek(headerIdemKey))
	switch {
	case given != "" && key != "":
		return operationID{}, badRequest("id", "Send either \"id\" or the header Idempotency-Key, not both.")
	case given != "":
		id, err := wire.ParseID(given)
		if err != nil {
			return operationID{}, badRequest("id", sentence(err.Error()))
		}
		return operationID{id, wire.FlagRepeat}, nil
	case len(key) > maxIdemKey:
		return operationID{}, badRequest(headerIdemKey, fmt.Sprintf("The header %s may have %d bytes.", headerIdemKey, maxIdemKey))
	case key != "":
		return operationID{wire.KeyID(fmt.Sprintf("%s\x00%d\x00%s", call, q.event, key)), wire.FlagRepeat}, nil
	}
	return operationID{q.n.freshID(q.event), 0}, nil
}

// isJSON refuses bodies that do not say they are JSON. That is also what keeps
// web pages of others out: a browser asks before it sends JSON to another site.
func (q *request) isJSON() *problem {
	media, _, err := mime.ParseMediaType(string(q.ctx.Request.Header.ContentType()))
	if err != nil || media != jsonMedia {
		return httpProblem(codeMediaType)
	}
	return nil
}

// body reads the request's JSON into v and names what does not fit.
func (q *request) body(v any) *problem {
	if p := q.isJSON(); p != nil {
		return p
	}
	d := json.NewDecoder(bytes.NewReader(q.ctx.PostBody()))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return jsonProblem(err, v)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("", "The body goes on after its JSON object. Send one object.")
	}
	return nil
}

// jsonProblem says in a sentence what is wrong with a body that was to be read
// into v.
func jsonProblem(err error, v any) *problem {
	var syntax *json.SyntaxError
	var wrong *json.UnmarshalTypeError
	var field *fieldError
	const unknown = "json: unknown field "
	switch {
	case errors.Is(err, io.EOF):
		return badRequest("", "The body is empty. Send a JSON object, {} if there is nothing to say.")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return badRequest("", "The body's JSON ends too early.")
	case errors.As(err, &field):
		return badRequest(field.field, field.detail)
	case errors.As(err, &syntax):
		return badRequest("", fmt.Sprintf("The body is not JSON: %s at byte %d.", syntax.Error(), syntax.Offset))
	case errors.As(err, &wrong):
		if wrong.Field == "" {
			return badRequest("", fmt.Sprintf("The body must be a JSON object, not %s.", wrong.Value))
		}
		return badRequest(wrong.Field, fmt.Sprintf("The field %q must be %s, not %s.", wrong.Field, inWords(wrong.Type), wrong.Value))
	case strings.HasPrefix(err.Error(), unknown):
		name, uerr := strconv.Unquote(strings.TrimPrefix(err.Error(), unknown))
		if uerr != nil {
			name = strings.TrimPrefix(err.Error(), unknown)
		}
		return badRequest(name, fmt.Sprintf("There is no field %q here. The fields are %s.", name, strings.Join(fieldsOf(reflect.TypeOf(v)), ", ")))
	}
	return badRequest("", "The body cannot be read: "+sentence(err.Error()))
}

// inWords says what JSON a Go type wants.
func inWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Pointer:
		return inWords(t.Elem())
	}
	return "a whole number within its range"
}

// fieldsOf lists the JSON names of a struct's fields, nested ones with a dot.
func fieldsOf(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var names []string
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if t.Field(i).Anonymous {
			names = append(names, fieldsOf(t.Field(i).Type)...)
			continue
		}
		names = append(names, name)
		for _, inner := range fieldsOf(t.Field(i).Type) {
			names = append(names, name+"."+inner)
		}
	}
	return names
}

// sentence makes one of an error's text. A word with digits, or with _, is a name.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, " ")
	if s != "" && s[0] >= 'a' && s[0] <= 'z' && !strings.ContainsAny(first, "0123456789_") {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	return strings.TrimSuffix(s, ".") + "."
}

// flag reads a query parameter that is 1 or absent.
func (q *request) flag(name string) (bool, *problem) {
	switch v := q.ctx.QueryArgs().Peek(name); string(v) {
	case "":
		return q.ctx.QueryArgs().Has(name), nil
	case "1", "true":
		return true, nil
	case "0", "false":
		return false, nil
	}
	return false, badRequest(name, fmt.Sprintf("The parameter %q must be 1 or 0.", name))
}

// reply answers with JSON.
func (q *request) reply(code int, v any) *problem {
	q.ctx.SetStatusCode(code)
	q.ctx.SetContentType(jsonMedia)
	e := json.NewEncoder(q.ctx.Response.BodyWriter())
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		q.f.log.Error("encoding an answer", "request", q.id, "error", err)
		q.ctx.Response.ResetBody()
		return httpProblem(codeInternal)
	}
	return nil
}

// writeProblem answers with a problem.
func writeProblem(ctx *fasthttp.RequestCtx, p *problem, id string) {
	h := &ctx.Response.Header
	ctx.SetStatusCode(p.http)
	ctx.SetContentType(problemMedia)
	h.Del(fasthttp.HeaderETag) // of the answer that was to be
	h.Set(headerRequestID, id)
	h.Set(fasthttp.HeaderCacheControl, "no-store")
	if p.retry > 0 {
		h.Set(fasthttp.HeaderRetryAfter, strconv.Itoa(p.retry))
	}
	if p.http == fasthttp.StatusUnauthorized {
		h.Set(fasthttp.HeaderWWWAuthenticate, "Bearer")
	}
	body, err := json.Marshal(p.with("request_id", id))
	if err != nil {
		body = []byte(`{"code":"` + codeInternal + `","status":500}`)
		ctx.SetStatusCode(fasthttp.StatusInternalServerError)
	}
	ctx.SetBody(body)
}
