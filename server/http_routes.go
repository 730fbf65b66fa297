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
		queue   = event + "/queue"
	)
	return []route{
		{http.MethodPost, eventsPath, "createEvent", wire.RoleOperate, keyed, (*request).createEvent},
		{http.MethodGet, eventsPath, "listEvents", wire.RoleRead, keyed, (*request).listEvents},
		{http.MethodGet, event, "getEvent", wire.RoleRead, visitors, (*request).getEvent},
		{http.MethodPatch, event, "patchEvent", wire.RoleOperate, keyed, (*request).patchEvent},
		{http.MethodDelete, event, "deleteEvent", wire.RoleOperate, keyed, (*request).deleteEvent},
		{http.MethodGet, event + "/manifest", "getManifest", wire.RoleRead, visitors, (*request).getManifest},
		{http.MethodGet, event + "/seats", "getSeats", wire.RoleRead, visitors, (*request).seats},
		{http.MethodGet, event + "/stream", "streamSeats", wire.RoleRead, visitors, (*request).stream},

		{http.MethodPost, event + "/holds", "hold", wire.RoleSell, keyed, (*request).hold},
		{http.MethodGet, hold, "getHold", wire.RoleRead, keyed, (*request).getHold},
		{http.MethodPost, hold + "/extend", "extend", wire.RoleSell, keyed, (*request).extend},
		{http.MethodPost, hold + "/pay", "pay", wire.RoleSell, keyed, (*request).pay},
		{http.MethodPost, hold + "/confirm", "confirm", wire.RoleSell, keyed, (*request).confirm},
		{http.MethodPost, hold + "/release", "release", wire.RoleSell, keyed, (*request).release},

		{http.MethodGet, booking, "getBooking", wire.RoleRead, keyed, (*request).getBooking},
		{http.MethodPost, booking + "/cancel", "cancel", wire.RoleSell, keyed, (*request).cancel},
		{http.MethodPost, booking + "/exchange", "exchange", wire.RoleSell, keyed, (*request).exchange},

		{http.MethodPut, queue, "setRoom", wire.RoleOperate, keyed, (*request).setRoom},
		{http.MethodDelete, queue, "endRoom", wire.RoleOperate, keyed, (*request).endRoom},
		{http.MethodPost, queue + "/pause", "pauseRoom", wire.RoleOperate, keyed, (*request).pauseRoom},
		{http.MethodPost, queue + "/resume", "resumeRoom", wire.RoleOperate, keyed, (*request).resumeRoom},
		{http.MethodPost, queue + "/drain", "drainRoom", wire.RoleOperate, keyed, (*request).drainRoom},
		{http.MethodPost, queue + "/open", "openRoom", wire.RoleOperate, keyed, (*request).openRoom},
		{http.MethodPost, queue + "/draw", "drawRoom", wire.RoleOperate, keyed, (*request).drawRoom},
		{http.MethodGet, queue, "getQueue", wire.RoleRead, visitors, (*request).getQueue},
		{http.MethodGet, queue + "/stream", "streamQueue", wire.RoleRead, visitors, (*request).streamQueue},
		{http.MethodGet, queue + "/ws", "socketQueue", wire.RoleRead, visitors, (*request).socketQueue},
		{http.MethodPost, queue, "joinQueue", wire.RoleSell, visitors, (*request).joinQueue},
		{http.MethodPost, queue + "/place", "placeInQueue", wire.RoleRead, visitors, (*request).placeInQueue},
		{http.MethodPost, queue + "/pass", "redeemTicket", wire.RoleSell, visitors, (*request).redeemTicket},
		{http.MethodPost, queue + "/leave", "leaveQueue", wire.RoleSell, visitors, (*request).leaveQueue},

		{http.MethodPost, event + "/block", "block", wire.RoleOperate, keyed, (*request).block},
		{http.MethodPost, event + "/unblock", "unblock", wire.RoleOperate, keyed, (*request).unblock},
		{http.MethodPost, event + "/channels", "setChannel", wire.RoleOperate, keyed, (*request).setChannel},
	}
}

// adminRoutes are the calls of the admin listener. Health is for load balancers,
// which have no key.
func adminRoutes() []route {
	return []route{
		{http.MethodGet, "/healthz", "health", 0, everybody, (*request).health},
		{http.MethodGet, "/readyz", "ready", 0, everybody, (*request).ready},
		{http.MethodGet, "/metrics", "metrics", wire.RoleOperate, keyed, (*request).metrics},
		{http.MethodGet, "/debug/pprof/{profile:*}", "pprof", wire.RoleOperate, keyed, (*request).pprof},
		{http.MethodGet, "/admin/cluster", "getCluster", wire.RoleOperate, keyed, (*request).cluster},
		{http.MethodGet, "/admin/audit", "getAudit", wire.RoleOperate, keyed, (*request).audit},
		{http.MethodPost, "/admin/shards", "addShards", wire.RoleOperate, keyed, (*request).addShards},
		{http.MethodPost, "/admin/shards/{shard}/transfer", "transfer", wire.RoleOperate, keyed, (*request).transfer},
		{http.MethodPut, "/admin/shards/{shard}/replicas", "placeReplicas", wire.RoleOperate, keyed, (*request).placeReplicas},
		{http.MethodPost, "/admin/rebalance", "rebalance", wire.RoleOperate, keyed, (*request).rebalance},
		{http.MethodPost, "/admin/nodes/{node}/drain", "drainNode", wire.RoleOperate, keyed, (*request).drainNode},
		{http.MethodDelete, "/admin/nodes/{node}", "removeNode", wire.RoleOperate, keyed, (*request).removeNode},
		{http.MethodPost, "/admin/events/{event}/move", "moveEvent", wire.RoleOperate, keyed, (*request).moveEvent},
		{http.MethodGet, "/admin/events/{event}/move", "getMove", wire.RoleOperate, keyed, (*request).lastMove},
		{http.MethodDelete, "/admin/events/{event}/move", "cancelMove", wire.RoleOperate, keyed, (*request).cancelMove},
		{http.MethodPost, "/admin/backup", "backup", wire.RoleOperate, keyed, (*request).backup},
		{http.MethodPost, restorePath, "restore", wire.RoleOperate, keyed, (*request).restore},
		{http.MethodGet, "/admin/signing-keys", "listSigningKeys", wire.RoleOperate, keyed, (*request).signingKeys},
		{http.MethodPost, "/admin/signing-keys", "rotateSigningKey", wire.RoleOperate, keyed, (*request).rotateSigning},
		{http.MethodGet, "/admin/keys", "listKeys", wire.RoleOperate, keyed, (*request).listKeys},
		{http.MethodPost, "/admin/keys", "addKey", wire.RoleOperate, keyed, (*request).addKey},
		{http.MethodDelete, "/admin/keys/{name}", "dropKey", wire.RoleOperate, keyed, (*request).dropKey},
	}
}
