package shard

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/usher-seats/usher/wire"
)

// TestBestExamples proves that the drawings of docs/best-available.md are what
// the code does. Each line of a map is a row:
//
//	seats [focal=n] [section] [category of each seat]
//
// with . for a free seat, # for a taken one, _ for one that is barred and w for
// a free wheelchair place. Sections and categories are letters, a by default,
// and so is the answer's group: A is the first, B the second.
func TestBestExamples(t *testing.T) {
	datadriven.RunTest(t, "testdata/best.txt", func(t *testing.T, d *datadriven.TestData) string {
		p := parsePicture(t, d.Input)
		q := bestQuery{Section: wire.Any}
		for _, arg := range d.CmdArgs {
			switch arg.Key {
			case "count":
				arg.Scan(t, 0, &q.Count)
			case "split":
				q.Split = true
			case "no-orphan":
				q.NoOrphan = true
			case "wheelchair":
				q.Access = wire.AccessWheelchair
			case "categories":
				for _, c := range arg.Vals[0] {
					q.Categories |= 1 << (c - 'a')
				}
			case "section":
				q.Section = uint16(arg.Vals[0][0] - 'a')
			default:
				t.Fatalf("%s: unknown argument %q", d.Pos, arg.Key)
			}
		}
		return p.answer(q)
	})
}

// A picture is a map drawn in text.
type picture struct {
	m     *wire.Manifest
	lines []string // the seats of each row
}

func parsePicture(t *testing.T, text string) *picture {
	p := &picture{m: &wire.Manifest{Categories: strings.Split("abcdefgh", "")}}
	section := byte(0)
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		r := wire.Row{Focal: uint16(len(fields[0]) - 1)}
		next, categories := byte('a'), strings.Repeat("a", len(fields[0]))
		for _, f := range fields[1:] {
			switch focal, ok := strings.CutPrefix(f, "focal="); {
			case ok:
				n, err := strconv.Atoi(focal)
				if err != nil {
					t.Fatal(err)
				}
				r.Focal = uint16(n)
			case len(f) == 1 && len(fields[0]) > 1:
				next = f[0]
			default:
				categories = f
			}
		}
		for i := range len(fields[0]) {
			seat := wire.Seat{Category: uint16(categories[i] - 'a')}
			if fields[0][i] == 'w' {
				seat.Access = wire.AccessWheelchair
			}
			r.Seats = append(r.Seats, seat)
		}
		if next != section {
			p.m.Sections = append(p.m.Sections, wire.Section{})
			section = next
		}
		s := &p.m.Sections[len(p.m.Sections)-1]
		s.Rows = append(s.Rows, r)
		p.lines = append(p.lines, fields[0])
	}
	return p
}

// answer draws the seats that a query gets into the map.
func (p *picture) answer(q bestQuery) string {
	l := newLayout(p.m)
	taken := emptyMap(l)
	barred := make([]uint64, l.words)
	for i, line := range p.lines {
		word := int(l.rows[i].word)
		for j := range len(line) {
			switch line[j] {
			case '#':
				taken[word+j/64].Store(taken[word+j/64].Load() | 1<<(j%64))
			case '_':
				setBit(barred[word:], j)
			}
		}
	}
	seats, ok := newBestIndex(l).best(q, taken, barred, nil)
	if !ok {
		return "not enough\n"
	}
	drawn := make([][]byte, len(p.lines))
	for i := range drawn {
		drawn[i] = []byte(p.lines[i])
	}
	name := byte('A')
	for i, s := range seats {
		row := l.rowOf(int(s / 64))
		if i > 0 && s != seats[i-1]+1 {
			name++
		}
		drawn[row][int(s)-64*int(l.rows[row].word)] = name
	}
	var out strings.Builder
	for _, line := range drawn {
		fmt.Fprintf(&out, "%s\n", line)
	}
	return out.String()
}
