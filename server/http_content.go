package server

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// Content codings of large answers, the preferred first. "s2" is not
// registered: both ends have to know that it is an S2 block.
const (
	codingZstd = "zstd"
	codingS2   = "s2"
	codingGzip = "gzip"
	identity   = "identity"
)

// A preference is one element of an Accept or Accept-Encoding header.
type preference struct {
	name string
	q    float64
}

// preferences reads a header of RFC 9110 section 12.5. Elements it cannot read
// count as not there.
func preferences(header string) []preference {
	var list []preference
	for element := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(element, ";")
		p := preference{strings.ToLower(strings.TrimSpace(name)), 1}
		if p.name == "" {
			continue
		}
		for param := range strings.SplitSeq(params, ";") {
			k, v, _ := strings.Cut(strings.TrimSpace(param), "=")
			if strings.EqualFold(k, "q") {
				weight, err := strconv.ParseFloat(v, 64)
				if err != nil || !(weight >= 0 && weight <= 1) {
					weight = 0
				}
				p.q = weight
			}
		}
		list = append(list, p)
	}
	return list
}

// weigh is how much a client wants a name: by the name itself, else by the
// first of the wildcards that it lists. ok is false if it says nothing of it.
func weigh(list []preference, name string, wildcards ...string) (q float64, ok bool) {
	for _, want := range append([]string{name}, wildcards...) {
		for _, p := range list {
			if p.name == want {
				return p.q, true
			}
		}
	}
	return 0, false
}

// accepted is the one of the media types, the preferred first, that the client
// wants most.
func (q *request) accepted(media ...string) (string, *problem) {
	header := string(q.ctx.Request.Header.Peek("Accept"))
	list := preferences(header)
	if len(list) == 0 {
		return media[0], nil
	}
	best, most := "", 0.0
	for _, m := range media {
		family, _, _ := strings.Cut(m, "/")
		if w, _ := weigh(list, m, family+"/*", "*/*"); w > most {
			best, most = m, w
		}
	}
	if best == "" {
		p := httpProblem(codeNotAcceptable)
		p.detail = "This call answers " + strings.Join(media, " or ") + "; your Accept header allows neither."
		return "", p
	}
	return best, nil
}

// encoding is the content coding that the client wants most; of those it wants
// alike, the one that is best for both.
func (q *request) encoding() string {
	list := preferences(string(q.ctx.Request.Header.Peek("Accept-Encoding")))
	best, most := identity, 0.0
	if w, ok := weigh(list, identity); ok {
		most = w / 2 // named only to be allowed: a coding that weighs the same wins
	}
	for _, c := range []string{codingZstd, codingS2, codingGzip} {
		wildcards := []string{"*"}
		if c == codingS2 {
			wildcards = nil // nobody means it who does not name it
		}
		if w, _ := weigh(list, c, wildcards...); w > most {
			best, most = c, w
		}
	}
	return best
}

// etagMatches compares an If-None-Match header with a tag, weakly.
func etagMatches(header, etag string) bool {
	etag = strings.TrimPrefix(etag, "W/")
	for tag := range strings.SplitSeq(header, ",") {
		tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/")
		if tag == "*" || tag == etag {
			return true
		}
	}
	return false
}

// marshal is an answer's JSON, for bodies that are kept.
func marshal(q *request, v any) ([]byte, *problem) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		q.f.log.Error("encoding an answer", "request", q.id, "error", err)
		return nil, httpProblem(codeInternal)
	}
	return b.Bytes(), nil
}

// packings are the content codings as the binary protocol calls them.
var packings = map[string]wire.Compression{
	codingZstd: wire.CompressZstd,
	codingS2:   wire.CompressS2,
	codingGzip: wire.CompressGzip,
}
