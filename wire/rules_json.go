package wire

import (
	"encoding/json"
	"fmt"
	"time"
)

// rulesJSON is Rules as people write them.
type rulesJSON struct {
	HoldTTL       uint32          `json:"hold_ttl_ms"`
	MaxTTL        uint32          `json:"max_ttl_ms"`
	PayCap        uint32          `json:"pay_cap_ms"`
	Extensions    uint8           `json:"extensions"`
	SeatsPerHold  uint8           `json:"seats_per_hold"`
	SeatsPerBuyer uint16          `json:"seats_per_buyer"`
	RefuseOrphans bool            `json:"refuse_orphans"`
	OpensAt       json.RawMessage `json:"opens_at,omitempty"`  // RFC 3339; null: at once
	ClosesAt      json.RawMessage `json:"closes_at,omitempty"` // RFC 3339; null: never
}

// ParseRulesPatch gives base with the rules changed that data names, an object
// such as {"seats_per_hold":4,"opens_at":"2026-06-01T09:00:00Z"}. A null takes
// opens_at or closes_at away. The result is valid.
func ParseRulesPatch(base Rules, data []byte) (Rules, error) {
	j := rulesJSON{
		HoldTTL:       base.HoldTTL,
		MaxTTL:        base.MaxTTL,
		PayCap:        base.PayCap,
		Extensions:    base.Extensions,
		SeatsPerHold:  base.SeatsPerHold,
		SeatsPerBuyer: base.SeatsPerBuyer,
		RefuseOrphans: base.RefuseOrphans,
	}
	if err := decodeJSON(data, &j, true); err != nil {
		return base, fmt.Errorf("rules: %w", err)
	}
	u := Rules{
		HoldTTL:       j.HoldTTL,
		MaxTTL:        j.MaxTTL,
		PayCap:        j.PayCap,
		Extensions:    j.Extensions,
		SeatsPerHold:  j.SeatsPerHold,
		SeatsPerBuyer: j.SeatsPerBuyer,
		RefuseOrphans: j.RefuseOrphans,
		OpensAt:       base.OpensAt,
		ClosesAt:      base.ClosesAt,
	}
	err := parseWall("opens_at", j.OpensAt, &u.OpensAt)
	if err == nil {
		err = parseWall("closes_at", j.ClosesAt, &u.ClosesAt)
	}
	if err == nil {
		err = u.Validate()
	}
	if err != nil {
		return base, fmt.Errorf("rules: %w", err)
	}
	return u, nil
}

// parseWall reads an RFC 3339 time, or null for none. No data is no change.
func parseWall(name string, data []byte, wall *int64) error {
	if len(data) == 0 {
		return nil
	}
	var text *string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("%s: %s is no time; write it as \"2026-06-01T09:00:00Z\"", name, data)
	}
	if text == nil {
		*wall = 0
		return nil
	}
	t, err := time.Parse(time.RFC3339, *text)
	if err != nil {
		return fmt.Errorf("%s: %q is no time; write it as \"2026-06-01T09:00:00Z\"", name, *text)
	}
	*wall = t.UnixMilli()
	return nil
}

// MarshalJSON writes what ParseRulesPatch reads. Times are in UTC.
func (u Rules) MarshalJSON() ([]byte, error) {
	return json.Marshal(rulesJSON{
		HoldTTL:       u.HoldTTL,
		MaxTTL:        u.MaxTTL,
		PayCap:        u.PayCap,
		Extensions:    u.Extensions,
		SeatsPerHold:  u.SeatsPerHold,
		SeatsPerBuyer: u.SeatsPerBuyer,
		RefuseOrphans: u.RefuseOrphans,
		OpensAt:       wallJSON(u.OpensAt),
		ClosesAt:      wallJSON(u.ClosesAt),
	})
}

func wallJSON(wall int64) json.RawMessage {
	if wall == 0 {
		return nil
	}
	return []byte(time.UnixMilli(wall).UTC().Format(`"2006-01-02T15:04:05.999Z07:00"`))
}
