package directory

import (
	"fmt"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// maxAudit bounds the audit log, in lines.
const maxAudit = 1000

// An AuditLine says who changed what. It is immutable.
type AuditLine struct {
	Version uint64 // of the Table that has the change
	Wall    int64  // when it was asked for, Unix milliseconds; 0: nobody said
	By      string // name of the API key; empty: the cluster itself, or whoever needed none
	What    string // for people
}

// note says that the operation under way has changed something, and what.
func (d *Directory) note(format string, args ...any) {
	d.draft.dirty = true
	d.draft.version++
	d.log(AuditLine{Version: d.draft.version, Wall: d.wall, By: d.by, What: fmt.Sprintf(format, args...)})
}

// log adds a line and drops the oldest if there are too many. Tables share the
// lines: what one of them shows is not written to again, because lines are only
// ever added behind those that it has.
func (d *Directory) log(line AuditLine) {
	d.audit += hashLine(&line)
	d.draft.audit = append(d.draft.audit, line)
	if len(d.draft.audit) > maxAudit {
		d.audit -= hashLine(&d.draft.audit[0])
		d.draft.audit = d.draft.audit[1:]
	}
}

func hashLine(l *AuditLine) uint64 { return xxhash.Sum64(appendLine(make([]byte, 0, 256), l)) }

// plain is a name in an audit line: quoted if it could be taken for more than a
// name. Which characters are quoted does not depend on the Unicode tables that
// a replica was built with.
func plain(name string) string {
	if name == "" || !visible(name) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

// visible reports whether s has nothing but visible ASCII, quotes aside.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '"' {
			return false
		}
	}
	return true
}
