package server

import (
	"net/http"
	"strconv"

	"github.com/valyala/fasthttp"

	"github.com/usher-seats/usher/server/pages"
	"github.com/usher-seats/usher/wire"
)

const (
	// assetCaching lets browsers keep an asset for a year: its path changes with it.
	assetCaching = "public, max-age=31536000, immutable"
	assetsPath   = pages.Prefix + "{asset:*}"
)

// pageRoutes are the buyers' pages on the HTTP frontend. They need no key: what they
// show comes through the calls of the API, which do.
func pageRoutes() []route {
	return []route{
		{http.MethodGet, "/", "pageEvents", 0, everybody, page("index.html")},
		{http.MethodGet, "/e/{event}", "pageBuyer", 0, everybody, page("buyer.html")},
		{http.MethodGet, "/e/{event}/draw", "pageDraw", 0, everybody, page("draw.html")},
		{http.MethodGet, assetsPath, "asset", 0, everybody, (*request).asset},
	}
}

// operatorPageRoutes are the operator's page on the admin listener.
func operatorPageRoutes() []route {
	return []route{
		{http.MethodGet, "/", "pageOperator", 0, everybody, page("operator.html")},
		{http.MethodGet, assetsPath, "operatorAsset", 0, everybody, (*request).asset},
	}
}

// operatorCalls are calls of the HTTP frontend that the operator's page makes. The
// admin listener has them too, because a browser lets a page talk to the listener
// that it came from only. All of them need the operator's role there.
var operatorCalls = map[string]string{ // name on the frontend: name on the admin listener
	"listEvents": "operatorListEvents",
	"getEvent":   "operatorGetEvent",
	"getQueue":   "operatorGetQueue",
	"setRoom":    "operatorSetRoom",
	"pauseRoom":  "operatorPauseRoom",
	"resumeRoom": "operatorResumeRoom",
	"drainRoom":  "operatorDrainRoom",
	"openRoom":   "operatorOpenRoom",
	"drawRoom":   "operatorDrawRoom",
}

// operatorRoutes are the routes of operatorCalls.
func operatorRoutes() []route {
	var routes []route
	for _, r := range apiRoutes() {
		if name, ok := operatorCalls[r.name]; ok {
			r.name, r.role = name, wire.RoleOperate
			routes = append(routes, r)
		}
	}
	return routes
}

// page serves a page, which browsers keep but ask for each time.
func page(name string) func(*request) *problem {
	return func(q *request) *problem {
		site, p := q.site()
		if p != nil {
			return p
		}
		f := site.Page(name)
		h := &q.ctx.Response.Header
		h.Set("Content-Security-Policy", pages.Policy)
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		return q.file(f)
	}
}

// asset serves what pages are made of.
func (q *request) asset() *problem {
	site, p := q.site()
	if p != nil {
		return p
	}
	rest, p := q.param("asset")
	if p != nil {
		return p
	}
	f, current := site.Asset(rest)
	if f == nil {
		return httpProblem(codeNotFound)
	}
	p = q.file(f)
	if current {
		q.ctx.Response.Header.Set("Cache-Control", assetCaching)
	}
	return p
}

func (q *request) site() (*pages.Site, *problem) {
	site, err := pages.Load()
	if err != nil {
		q.f.log.Error("reading the pages that are built in", "request", q.id, "error", err)
		return nil, httpProblem(codeInternal)
	}
	return site, nil
}

// file answers with a page or an asset.
func (q *request) file(f *pages.File) *problem {
	coding := q.encoding()
	if coding == codingS2 || len(f.Body) < minPacked {
		coding = identity
	}
	h := &q.ctx.Response.Header
	etag := strconv.Quote(f.Tag + "-" + coding)
	h.Set(fasthttp.HeaderXContentTypeOptions, "nosniff")
	h.Set(fasthttp.HeaderETag, etag)
	h.Add(fasthttp.HeaderVary, fasthttp.HeaderAcceptEncoding)
	h.Set(fasthttp.HeaderCacheControl, "no-cache") // keep it, but ask each time
	if etagMatches(string(q.ctx.Request.Header.Peek(fasthttp.HeaderIfNoneMatch)), etag) {
		q.notModified()
		return nil
	}
	body := f.Body
	if coding != identity {
		body = f.Packed(coding, func(b []byte) []byte { return q.n.pack(coding, b) })
		h.Set(fasthttp.HeaderContentEncoding, coding)
	}
	q.ctx.SetContentType(f.Media)
	q.ctx.Response.SetBodyRaw(body) // shared: nobody writes to it
	return nil
}
