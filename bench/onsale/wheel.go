package onsale

// A wheel has the users of a lane by the millisecond in which each wakes: a list
// for each, linked through an array that is indexed by users. A user is in one
// list at a time. It is as long as the run, so it never turns round. Adding and
// taking cost the same however many there are. Guarded by its lane's mutex.
type wheel struct {
	next  []uint32 // of the crowd; by user: the next in his list, 0 none, else user+1
	heads []uint32 // by millisecond: 0 none, else user+1
	at    int      // the first millisecond that was not taken yet
}

func newWheel(next []uint32, span int) *wheel {
	return &wheel{next: next, heads: make([]uint32, span)}
}

// add lets the user wake at the millisecond, or with the next take if that is
// over. false: the run ends before.
func (w *wheel) add(user uint32, at int) bool {
	at = max(at, w.at)
	if at >= len(w.heads) {
		return false
	}
	w.next[user] = w.heads[at]
	w.heads[at] = user + 1
	return true
}

// take gives the list of the next millisecond, unless it comes after now; its
// users are in no list any more. false: there is none yet.
func (w *wheel) take(now int) (head uint32, at int, ok bool) {
	for w.at <= now && w.at < len(w.heads) {
		at := w.at
		w.at++
		if head := w.heads[at]; head != 0 {
			w.heads[at] = 0
			return head, at, true
		}
	}
	return 0, 0, false
}
