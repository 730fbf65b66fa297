package pages

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/usher-seats/usher/wire"
)

// TestScripts runs the tests of the modules in node, with vectors that the server's
// own code computes. Without node it is skipped; `make e2e` runs the pages anyway.
func TestScripts(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not installed")
	}
	vectors, err := json.Marshal(map[string]any{"places": placeVectors(t), "maps": mapVectors(), "draws": drawVectors()})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "vectors.json")
	if err := os.WriteFile(file, vectors, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(node, "--test", "testdata/vectors.test.mjs", "testdata/modules.test.mjs")
	cmd.Env = append(os.Environ(), "USHER_VECTORS="+file)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "# fail 0") {
		t.Fatalf("%v\n%s", err, out)
	}
}

// manifests are texts of events with all that makes ids and labels differ.
var manifests = []string{
	`{"key":"plain","name":"","sections":[{"name":"A","category":"gold","rows":[{"name":"1","seats":10},{"name":"2","seats":64},{"name":"3","seats":65}]}]}`,
	`{"key":"lists","name":"","categories":["gold","silver"],"sections":[
		{"name":"A","category":"silver","rows":[{"name":"1","seats":[{"label":"7"},{"label":"9","category":"gold"},{"label":"11","access":["wheelchair"]}]}]},
		{"name":"B-1","category":"gold","rows":[{"name":"x","category":"silver","seats":130},{"name":"x","category":"silver","seats":[{"label":"a"},{"label":"b"}]}]}],
		"areas":[{"name":"Floor","category":"gold","capacity":100},{"name":"Lawn","category":"silver","capacity":3}]}`,
	`{"key":"areas","name":"","areas":[{"name":"Floor","category":"gold","capacity":64}]}`,
}

type placeVector struct {
	Manifest   *wire.Manifest         `json:"manifest"`
	Words      int                    `json:"words"`
	Labels     map[wire.SeatID]string `json:"labels"`
	Categories map[wire.SeatID]string `json:"categories"`
}

func placeVectors(t *testing.T) (list []placeVector) {
	t.Helper()
	for _, text := range manifests {
		m, err := wire.ParseManifest([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		v := placeVector{m, m.Words(), make(map[wire.SeatID]string), make(map[wire.SeatID]string)}
		places := m.Places()
		for id := range wire.SeatID(64 * m.Words()) {
			if label := places.Label(id); label != "" {
				v.Labels[id] = label
			}
		}
		for _, s := range m.Sections {
			for _, r := range s.Rows {
				for _, seat := range r.Seats {
					id, ok := places.Seat(s.Name + "-" + r.Name + "-" + seat.Label)
					if !ok {
						t.Fatalf("no seat %s in row %s", seat.Label, r.Name)
					}
					v.Categories[id] = m.Categories[seat.Category]
				}
			}
		}
		for _, a := range m.Areas {
			for i := range a.Capacity {
				id, ok := places.Seat(fmt.Sprintf("%s-%d", a.Name, i+1))
				if !ok {
					t.Fatalf("no place %d in %s", i+1, a.Name)
				}
				v.Categories[id] = m.Categories[a.Category]
			}
		}
		list = append(list, v)
	}
	return list
}

type mapVector struct {
	Planes string `json:"planes"`
	Words  int    `json:"words"`
	States string `json:"states"` // a digit per id
}

// mapVectors has a map with every state at every bit.
func mapVectors() []mapVector {
	const words = 4
	var planes []byte
	var states strings.Builder
	for w := range words {
		var low, high uint64
		for bit := range 64 {
			s := uint64(bit+w) % 4
			low |= s & 1 << bit
			high |= s >> 1 << bit
			fmt.Fprint(&states, s)
		}
		planes = binary.LittleEndian.AppendUint64(planes, low)
		planes = binary.LittleEndian.AppendUint64(planes, high)
	}
	return []mapVector{{base64.StdEncoding.EncodeToString(planes), words, states.String()}}
}

type drawVector struct {
	Seed       string      `json:"seed"`
	Source     string      `json:"source"`
	Entropy    string      `json:"entropy"`
	Room       string      `json:"room"`
	Count      uint64      `json:"count"`
	Commitment string      `json:"commitment"`
	Numbers    [][2]uint64 `json:"numbers"` // entry, queue number
}

// drawVectors are draws of all sizes that behave differently.
func drawVectors() (list []drawVector) {
	for i, n := range []uint64{1, 2, 100, 255, 256, 257, 65_536, 65_537, 10_000_000} {
		var seed [32]byte
		for j := range seed {
			seed[j] = byte(i*32 + j)
		}
		room := wire.RoomID(1<<63 + uint64(i))
		entropy := fmt.Sprintf("round %d", i)
		commitment := wire.Commitment(seed, []byte("beacon"))
		v := drawVector{hex.EncodeToString(seed[:]), "beacon", entropy, fmt.Sprint(uint64(room)), n, hex.EncodeToString(commitment[:]), nil}
		draw := wire.NewDraw(seed, []byte(entropy), room, n)
		for k := range min(n, 20) {
			entry := k * (n / min(n, 20))
			v.Numbers = append(v.Numbers, [2]uint64{entry, draw.Number(entry)})
		}
		list = append(list, v)
	}
	return list
}
