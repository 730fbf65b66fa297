package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"

	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/pprofhandler"

	"github.com/usher-seats/usher/wire"
)

const (
	adminConns = 256 // connections of the admin listener
	// keyPrefix lets people and scanners of source code recognise a key.
	keyPrefix = "usher_"
	keyBytes  = 32 // random bytes of a key
)

// startAdmin serves operators and their monitoring.
func (n *Node) startAdmin() error {
	if n.cfg.Admin == Off {
		return nil
	}
	f := newFrontend(n, "admin", slices.Concat(adminRoutes(), operatorRoutes(), operatorPageRoutes()))
	f.keyless = true
	f.metrics = newMetrics(n)
	f.streaming(restorePath)
	if err := f.listen(n.cfg.Admin, adminConns, 0); err != nil {
		return err
	}
	n.admin = f // before anybody can ask for it
	f.start(n.tls)
	return nil
}

// stopAdmin is stopHTTP for the admin listener.
func (n *Node) stopAdmin(ctx context.Context) error { return n.admin.stop(ctx) }

// healthAnswer answers /healthz and /readyz.
type healthAnswer struct {
	Status string `json:"status"`
}

// health serves GET /healthz: the process answers.
func (q *request) health() *problem {
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, healthAnswer{"ok"})
}

// ready serves GET /readyz: the node can do its work.
func (q *request) ready() *problem {
	s, why := q.n.readiness()
	if s != wire.StatusOK {
		p := statusProblem(s)
		p.http = http.StatusServiceUnavailable // what load balancers look at
		p.detail = why
		return p
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, healthAnswer{"ok"})
}

// readiness is why the node cannot do its work, or StatusOK.
func (n *Node) readiness() (wire.Status, string) {
	if n.stopping.Load() {
		return wire.StatusStopping, "The node is shutting down."
	}
	for g := range n.groups.Load().all {
		if g.log.Leader() == "" {
			return wire.StatusUnavailable, fmt.Sprintf("Group %d has no leader that this node knows of.", g.id)
		}
	}
	if n.store.DiskLow() {
		return wire.StatusDiskFull, "The disk is nearly full, so the node takes no new holds."
	}
	return wire.StatusOK, ""
}

// pprof serves GET /debug/pprof/….
func (q *request) pprof() *problem {
	pprofhandler.PprofHandler(q.ctx)
	return nil
}

type keyJSON struct {
	Name string `json:"name"`
	Role string `json:"role"`
	Key  string `json:"key,omitempty"` // only in the answer that makes it
}

type keysAnswer struct {
	Keys []keyJSON `json:"keys"`
}

// listKeys serves GET /admin/keys.
func (q *request) listKeys() *problem {
	keys := q.n.table().Keys()
	out := keysAnswer{Keys: make([]keyJSON, len(keys))}
	for i, k := range keys {
		out.Keys[i] = keyJSON{Name: k.Name, Role: k.Role.String()}
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusOK, out)
}

type addKeyBody struct {
	Name string `json:"name"`
	Role string `json:"role"`
}

// addKey serves POST /admin/keys. The cluster keeps the key's hash only, so its
// text is in this answer and nowhere else. A name that has a key gets another.
func (q *request) addKey() *problem {
	var b addKeyBody
	if p := q.body(&b); p != nil {
		return p
	}
	role, ok := wire.ParseRole(b.Role)
	switch {
	case b.Name == "" || len(b.Name) > wire.MaxKeyLen:
		return badRequest("name", fmt.Sprintf("The field \"name\" must have 1 to %d bytes.", wire.MaxKeyLen))
	case !ok:
		return badRequest("role", "The field \"role\" must be read, sell or operate; each includes the ones before it.")
	}
	var secret [keyBytes]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	key := keyPrefix + base64.RawURLEncoding.EncodeToString(secret[:])
	op := wire.AddKey{Mutation: q.directoryMutation(), Name: []byte(b.Name), Hash: sha256.Sum256([]byte(key)), Role: role}
	status, body := q.do(wire.Record{Kind: wire.KindAddKey, Body: op.Append(nil)})
	if status != wire.StatusOK {
		return refusal(status, body, nil)
	}
	q.ctx.Response.Header.Set(fasthttp.HeaderCacheControl, "no-store")
	return q.reply(http.StatusCreated, keyJSON{b.Name, role.String(), key})
}

// dropKey serves DELETE /admin/keys/{name}.
func (q *request) dropKey() *problem {
	name, p := q.param("name")
	if p != nil {
		return p
	}
	op := wire.DropKey{Mutation: q.directoryMutation(), Name: []byte(name)}
	status, body := q.do(wire.Record{Kind: wire.KindDropKey, Body: op.Append(nil)})
	switch status {
	case wire.StatusOK:
	case wire.StatusUnknownPlace:
		p := httpProblem(codeNotFound)
		p.detail = "There is no key with this name. GET /admin/keys lists those there are."
		return p
	default:
		return refusal(status, body, nil)
	}
	q.ctx.SetStatusCode(http.StatusNoContent)
	return nil
}

// directoryMutation begins an operation on the directory, whose time is that of
// its own group.
func (q *request) directoryMutation() wire.Mutation {
	return q.n.begin(0)
}
