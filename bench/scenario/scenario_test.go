package scenario

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPresets(t *testing.T) {
	if n := len(Presets()); n != 4 {
		t.Fatalf("%d presets", n)
	}
	for _, name := range presetNames() {
		s, err := Preset(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if s.Name != name || s.About == "" {
			t.Errorf("the file %s describes %q: %q", name, s.Name, s.About)
		}
		small := s.Scale(20_000)
		if err := small.Check(); err != nil {
			t.Errorf("%s with 20,000 users: %v", name, err)
		}
		was := float64(s.Users) / float64(s.Events.Seats*s.Events.Count)
		is := float64(small.Users) / float64(small.Events.Seats*small.Events.Count)
		if small.Events.Seats > 5*small.Events.Row && math.Abs(is/was-1) > 0.2 {
			t.Errorf("%s had %.1f users for a seat, scaled it has %.1f", name, was, is)
		}
	}
	if _, err := Preset("opera"); err == nil || !strings.Contains(err.Error(), "stadium") {
		t.Errorf("a preset that is not there: %v", err)
	}
}

// Every field of a preset is in the documentation, so that the file can be
// written from the page.
func TestFieldsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/onsale.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := presets.ReadFile("presets/stadium.toml")
	if err != nil {
		t.Fatal(err)
	}
	table := ""
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(strings.TrimSpace(line), "#")
		if name, ok := strings.CutPrefix(line, "["); ok {
			table = strings.TrimSuffix(name, "]") + "."
		}
		if name, _, ok := strings.Cut(line, "="); ok {
			if field := "`" + table + strings.TrimSpace(name) + "`"; !strings.Contains(string(page), field) {
				t.Errorf("docs/onsale.md does not have %s", field)
			}
		}
	}
}

func TestBadScenarios(t *testing.T) {
	text, err := presets.ReadFile("presets/stadium.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"users       = 10_000_000", "users = 0", "users is 0"},
		{"users       = 10_000_000", "user = 7", "unknown field user"},
		{"seats = 50_000", "seats = 50_001", "whole rows of 50"},
		{"spike     = 10.0", "spike = 60.0", "more people than come"},
		{"spike     = 10.0", "spike = 1.0", "not all people can come"},
		{"early     = 0.1", "early = 1.5", "arrivals.early"},
		{"patience   = \"40m\"", "patience = \"-1s\"", "crowd.patience"},
		{"close     = \"76m\"", "close = \"1m\"", "before the last arrival"},
		{"compression = 25.0", "compression = 1.0", "the run takes 1h46m0s"},
		{"party     = [0.12, 0.5, 0.13, 0.25]", "party = []", "visit.party"},
		{"enabled    = true", "", "room.enabled is missing"},
		{"limit      = 4_000", "limit = 0", "room.limit"},
		{"abandon   = 0.08", "abandon = 0.97", "visit.abandon + release + late"},
		{"pay       = \"2m\"", "pay = 2m", "line "},
	} {
		changed := strings.Replace(string(text), c.old, c.new, 1)
		if changed == string(text) {
			t.Fatalf("the preset has no %q", c.old)
		}
		if _, err := Parse(changed); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want something about %q", c.new, err, c.want)
		}
	}
}

// The curve agrees with the rate summed in small steps, adds up to everybody,
// and jumps at opening as it was told.
func TestCurve(t *testing.T) {
	for _, name := range presetNames() {
		s, err := Preset(name)
		if err != nil {
			t.Fatal(err)
		}
		a := s.Arrivals
		if jump := a.Rate(0) / a.Rate(-time.Millisecond); math.Abs(jump/a.Spike-1) > 1e-3 {
			t.Errorf("%s: opening multiplies the rate by %v, want %v", name, jump, a.Spike)
		}
		const step = 100 * time.Millisecond
		var sum float64
		var sums []float64
		for at := -a.Before; at < a.After; at += step {
			sums = append(sums, sum)
			sum += a.Rate(at+step/2) * step.Seconds() / 1e6
		}
		if math.Abs(sum-1) > 1e-3 {
			t.Fatalf("%s: the rates add up to %v of all users", name, sum)
		}
		curve := a.Curve()
		for i := range 1000 {
			u := float64(i) / 1000
			at := curve.Arrival(u)
			n, _ := slices.BinarySearch(sums, u)
			naive := -a.Before + time.Duration(n)*step
			if d := (at - naive).Abs(); d > 5*time.Second {
				t.Errorf("%s: u = %v comes at %v, by summing at %v", name, u, at, naive)
			}
		}
		if first, last := curve.Arrival(0), curve.Arrival(1); first != -a.Before || last > a.After {
			t.Errorf("%s: arrivals from %v to %v", name, first, last)
		}
	}
}
