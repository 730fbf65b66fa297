package inventory

import (
	"math/rand/v2"
	"slices"
)

// receiptsKept bounds the receipts of a connection.
const receiptsKept = 16

// A receiptSample keeps some receipts of very many, each with the same chance
// (reservoir sampling, Vitter's algorithm R).
type receiptSample struct {
	rand     *rand.Rand
	seen     int64
	receipts []Receipt
}

func newSample(r *rand.Rand) *receiptSample { return &receiptSample{rand: r} }

// add may keep a copy of r.
func (s *receiptSample) add(r Receipt) {
	s.seen++
	i := int64(len(s.receipts))
	if i == receiptsKept {
		if i = s.rand.Int64N(s.seen); i >= receiptsKept {
			return
		}
	} else {
		s.receipts = append(s.receipts, Receipt{})
	}
	r.Seats = slices.Clone(r.Seats)
	s.receipts[i] = r
}
