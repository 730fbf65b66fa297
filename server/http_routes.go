package server

import (
	"net/http"

	"github.com/usher-seats/usher/wire"
)

const eventsPath = "/v1/events"

// apiRoutes are the calls of the HTTP frontend.
func apiRoutes() []route {
	const (
		event   = eventsPath + "/{event}"
		hold    = event + "/holds/{id}"
		booking = event + "/bookings/{id}"
	)
	return []route{
		{http.MethodPost, eventsPath, "createEvent", wire.RoleOperate, false, (*request).createEvent},
		{http.MethodGet, eventsPath, "listEvents", wire.RoleRead, false, (*request).listEvents},
		{http.MethodGet, event, "getEvent", wire.RoleRead, false, (*request).getEvent},
		{http.MethodPatch, event, "patchEvent", wire.RoleOperate, false, (*request).patchEvent},
		{http.MethodDelete, event, "deleteEvent", wire.RoleOperate, false, (*request).deleteEvent},
		{http.MethodGet, event + "/manifest", "getManifest", wire.RoleRead, false, (*request).getManifest},
		{http.MethodGet, event + "/seats", "getSeats", wire.RoleRead, false, (*request).seats},

		{http.MethodPost, event + "/holds", "hold", wire.RoleSell, false, (*request).hold},
		{http.MethodGet, hold, "getHold", wire.RoleRead, false, (*request).getHold},
		{http.MethodPost, hold + "/extend", "extend", wire.RoleSell, false, (*request).extend},
		{http.MethodPost, hold + "/pay", "pay", wire.RoleSell, false, (*request).pay},
		{http.MethodPost, hold + "/confirm", "confirm", wire.RoleSell, false, (*request).confirm},
		{http.MethodPost, hold + "/release", "release", wire.RoleSell, false, (*request).release},

		{http.MethodGet, booking, "getBooking", wire.RoleRead, false, (*request).getBooking},
		{http.MethodPost, booking + "/cancel", "cancel", wire.RoleSell, false, (*request).cancel},
		{http.MethodPost, booking + "/exchange", "exchange", wire.RoleSell, false, (*request).exchange},

		{http.MethodPost, event + "/block", "block", wire.RoleOperate, false, (*request).block},
		{http.MethodPost, event + "/unblock", "unblock", wire.RoleOperate, false, (*request).unblock},
		{http.MethodPost, event + "/channels", "setChannel", wire.RoleOperate, false, (*request).setChannel},
	}
}

// adminRoutes are the calls of the admin listener. Health is for load balancers,
// which have no key.
func adminRoutes() []route {
	return []route{
		{http.MethodGet, "/healthz", "health", 0, true, (*request).health},
		{http.MethodGet, "/readyz", "ready", 0, true, (*request).ready},
		{http.MethodGet, "/metrics", "metrics", wire.RoleOperate, false, (*request).metrics},
		{http.MethodGet, "/debug/pprof/{profile:*}", "pprof", wire.RoleOperate, false, (*request).pprof},
		{http.MethodGet, "/admin/cluster", "getCluster", wire.RoleOperate, false, (*request).cluster},
		{http.MethodGet, "/admin/audit", "getAudit", wire.RoleOperate, false, (*request).audit},
		{http.MethodPost, "/admin/shards", "addShards", wire.RoleOperate, false, (*request).addShards},
		{http.MethodPost, "/admin/shards/{shard}/transfer", "transfer", wire.RoleOperate, false, (*request).transfer},
		{http.MethodPut, "/admin/shards/{shard}/replicas", "placeReplicas", wire.RoleOperate, false, (*request).placeReplicas},
		{http.MethodPost, "/admin/rebalance", "rebalance", wire.RoleOperate, false, (*request).rebalance},
		{http.MethodPost, "/admin/nodes/{node}/drain", "drainNode", wire.RoleOperate, false, (*request).drainNode},
		{http.MethodDelete, "/admin/nodes/{node}", "removeNode", wire.RoleOperate, false, (*request).removeNode},
		{http.MethodPost, "/admin/events/{event}/move", "moveEvent", wire.RoleOperate, false, (*request).moveEvent},
		{http.MethodGet, "/admin/events/{event}/move", "getMove", wire.RoleOperate, false, (*request).lastMove},
		{http.MethodDelete, "/admin/events/{event}/move", "cancelMove", wire.RoleOperate, false, (*request).cancelMove},
		{http.MethodPost, "/admin/backup", "backup", wire.RoleOperate, false, (*request).backup},
		{http.MethodPost, restorePath, "restore", wire.RoleOperate, false, (*request).restore},
		{http.MethodGet, "/admin/signing-keys", "listSigningKeys", wire.RoleOperate, false, (*request).signingKeys},
		{http.MethodPost, "/admin/signing-keys", "rotateSigningKey", wire.RoleOperate, false, (*request).rotateSigning},
		{http.MethodGet, "/admin/keys", "listKeys", wire.RoleOperate, false, (*request).listKeys},
		{http.MethodPost, "/admin/keys", "addKey", wire.RoleOperate, false, (*request).addKey},
		{http.MethodDelete, "/admin/keys/{name}", "dropKey", wire.RoleOperate, false, (*request).dropKey},
	}
}
