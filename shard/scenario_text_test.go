package shard

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/usher-seats/usher/wire"
)

// answerText is an outcome as people read it.
func answerText(kind wire.Kind, s wire.Status, body []byte) string {
	text := s.String()
	switch s {
	case wire.StatusOK:
		return text + okText(kind, body)
	case wire.StatusLate, wire.StatusTooOld, wire.StatusIDAhead:
		var c wire.Clock
		return text + decoded(c.Decode(body), func() string { return fmt.Sprintf(" now=%d", c.Now) })
	case wire.StatusBadRequest, wire.StatusUnknownPlace, wire.StatusExists, wire.StatusTooLarge, wire.StatusUnknownKind:
		return text + ": " + string(body)
	case wire.StatusNotCalled:
		var p wire.QueuePlace
		return text + decoded(p.Decode(body), func() string { return placeText(&p) })
	case wire.StatusTaken, wire.StatusOrphan, wire.StatusChannelRequired, wire.StatusUnknownSeat, wire.StatusLost:
		var l wire.SeatsLost
		return text + decoded(l.Decode(body), func() string {
			offer := ""
			if l.Offer.Len() > 0 {
				offer = " offer=" + seatsText(l.Offer)
			}
			return fmt.Sprintf(" %s%s now=%d", seatsText(l.Seats), offer, l.Now)
		})
	}
	if len(body) > 0 {
		text += fmt.Sprintf(" with a body of %d bytes", len(body))
	}
	return text
}

func decoded(err error, text func() string) string {
	if err != nil {
		return " BODY: " + err.Error()
	}
	return text()
}

func okText(kind wire.Kind, body []byte) string {
	switch kind {
	case wire.KindHold, wire.KindHoldBest, wire.KindHoldArea:
		var g wire.Granted
		return decoded(g.Decode(body), func() string {
			return fmt.Sprintf(" %s fence=%d until=%d now=%d", seatsText(g.Seats), g.Fence.Counter(), g.Deadline, g.Now)
		})
	case wire.KindExtend, wire.KindPay:
		var m wire.Timing
		return decoded(m.Decode(body), func() string { return fmt.Sprintf(" until=%d now=%d", m.Deadline, m.Now) })
	case wire.KindConfirm, wire.KindExchange:
		var c wire.Confirmed
		return decoded(c.Decode(body), func() string {
			text := fmt.Sprintf(" %s now=%d", seatsText(c.Seats), c.Now)
			if c.Reacquired {
				text += " reacquired"
			}
			return text
		})
	case wire.KindRelease, wire.KindCancel:
		var l wire.SeatsLost
		return decoded(l.Decode(body), func() string { return fmt.Sprintf(" %s now=%d", seatsText(l.Seats), l.Now) })
	case wire.KindGetHold:
		var h wire.HoldInfo
		return decoded(h.Decode(body), func() string { return holdText(&h) })
	case wire.KindMap:
		var m wire.SeatMap
		return decoded(m.Decode(body), func() string { return mapText(&m) })
	case wire.KindChanges:
		var c wire.Changes
		return decoded(c.Decode(body), func() string { return changesText(&c) })
	case wire.KindEvent:
		var i wire.EventInfo
		return decoded(i.Decode(body), func() string { return infoText(&i) })
	case wire.KindIssue:
		var i wire.Issued
		return decoded(i.Decode(body), func() string { return issuedText(&i) })
	case wire.KindRedeem:
		var a wire.Admitted
		return decoded(a.Decode(body), func() string {
			return fmt.Sprintf(" pass=%d number=%d until=%d seats=%d now=%d", a.Pass, a.Number, a.Deadline, a.Seats, a.Now)
		})
	case wire.KindFindPlace:
		var p wire.QueuePlace
		return decoded(p.Decode(body), func() string { return placeText(&p) })
	case wire.KindQueue:
		var q wire.QueueInfo
		return decoded(q.Decode(body), func() string { return queueText(&q) })
	case wire.KindFreeze:
		var f wire.Frozen
		return decoded(f.Decode(body), func() string { return fmt.Sprintf(" index=%d now=%d epoch=%d", f.Index, f.Now, f.Epoch) })
	}
	if len(body) > 0 {
		return fmt.Sprintf(" with a body of %d bytes", len(body))
	}
	return ""
}

func holdText(h *wire.HoldInfo) string {
	s := fmt.Sprintf(" %v fence=%d", h.State, h.Fence.Counter())
	if h.Deadline > 0 {
		s += fmt.Sprintf(" until=%d", h.Deadline)
	}
	if h.Extensions > 0 {
		s += fmt.Sprintf(" extensions=%d", h.Extensions)
	}
	if h.Buyer != 0 {
		s += fmt.Sprintf(" buyer=%d", h.Buyer)
	}
	if h.Held.Len() > 0 {
		s += " held=" + seatsText(h.Held)
	}
	if h.Booked.Len() > 0 {
		s += " booked=" + seatsText(h.Booked)
	}
	if h.Reacquired {
		s += " reacquired"
	}
	return s
}

// mapText draws a word per line: . free, h held, b booked, x blocked or no seat.
func mapText(m *wire.SeatMap) string {
	s := fmt.Sprintf(" version=%d", m.Version.Counter())
	for w := range len(m.Planes) / 16 {
		line := make([]byte, 64)
		for i := range line {
			line[i] = ".hbx"[m.State(wire.SeatID(w*64+i))]
		}
		s += "\n" + strings.TrimRight(string(line), "x")
	}
	return s
}

func changesText(c *wire.Changes) string {
	s := fmt.Sprintf(" version=%d", c.Version.Counter())
	if epoch := c.Version.Epoch(); epoch != firstEpoch {
		s += fmt.Sprintf(" epoch=%d", epoch)
	}
	if c.Resync {
		return s + " resync"
	}
	for i := range c.Len() {
		one := c.At(i)
		s += fmt.Sprintf("\n%d: %s %v → %v", one.Version.Counter(), seatText(one.Seat), one.From, one.To)
	}
	return s
}

func infoText(i *wire.EventInfo) string {
	s := fmt.Sprintf(" version=%d %v%s", i.Version.Counter(), i.Sale, countsText(i.Total))
	for k, c := range i.Sections {
		s += fmt.Sprintf("\nsection %d:%s", k, countsText(c))
	}
	for k, c := range i.Categories {
		s += fmt.Sprintf("\ncategory %d:%s", k, countsText(c))
	}
	for _, name := range i.Channels {
		s += fmt.Sprintf("\nchannel %s", name)
	}
	return s
}

func seatText(s wire.SeatID) string {
	if s < wordBits {
		return strconv.Itoa(int(s))
	}
	return fmt.Sprintf("%d:%d", s/wordBits, s%wordBits)
}

func seatsText(l wire.SeatList) string {
	var parts []string
	for i := range l.Len() {
		parts = append(parts, seatText(l.At(i)))
	}
	return "(" + strings.Join(parts, ",") + ")"
}
