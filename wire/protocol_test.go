package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const protocolPage = "../docs/protocol.md"

func readPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(protocolPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// vectorSections say under which heading of the page a file of vectors stands.
var vectorSections = map[string]string{
	"ids.txt":      "### Ids and hashes",
	"frames.txt":   "### Whole frames",
	"requests.txt": "### Vectors of request bodies",
	"answers.txt":  "### Vectors of answer bodies",
	"manifest.txt": "### Vectors of manifests",
	"draw.txt":     "### Vectors of draws",
}

// TestPageHasTheVectors holds docs/protocol.md to the golden files. With -update
// it writes them into the page.
func TestPageHasTheVectors(t *testing.T) {
	page := readPage(t)
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) != len(vectorSections) {
		t.Fatalf("%d files of vectors, %d sections: %v", len(files), len(vectorSections), err)
	}
	const open, end = "```text\n", "```\n"
	for name, heading := range vectorSections {
		golden, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(page, heading+"\n")
		if !ok {
			t.Errorf("the page has no heading %q", heading)
			continue
		}
		intro, rest, _ := strings.Cut(rest, open)
		block, after, ok := strings.Cut(rest, end)
		if !ok {
			t.Errorf("no vectors under %q", heading)
			continue
		}
		if block == string(golden) {
			continue
		}
		if !*update {
			t.Errorf("the vectors under %q are not those of testdata/%s; go test ./wire -run 'Golden|Page' -update writes them", heading, name)
			continue
		}
		page = before + heading + "\n" + intro + open + string(golden) + end + after
	}
	if *update {
		if err := os.WriteFile(protocolPage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPageListsAllKindsAndStatuses looks for the table row of each.
func TestPageListsAllKindsAndStatuses(t *testing.T) {
	page := readPage(t)
	for name, v := range constants(t, "frame.go", "Kind") {
		row := fmt.Sprintf("\n| %d | %s |", v, snake(strings.TrimPrefix(name, "Kind")))
		if strings.Count(page, row) != 1 {
			t.Errorf("the page has no row %q", strings.TrimSpace(row))
		}
	}
	for _, v := range constants(t, "status.go", "Status") {
		row := fmt.Sprintf("\n| %d | %s |", v, Status(v))
		if strings.Count(page, row) != 1 {
			t.Errorf("the page has no row %q", strings.TrimSpace(row))
		}
	}
}

var tableRow = regexp.MustCompile(`(?m)^\| *([^|]*?) *\| *([^|]*?) *\| *([^|]*?) *\| *([^|]*?) *\|$`)

// fixedSizes are the lengths of the page's types. Others have a length of their
// own, and whatever follows them has no fixed offset.
var fixedSizes = map[string]int{
	"u8": 1, "bool": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "4 bytes": 4,
	"id": 16, "hash": 32, "mutation": MutationSize, "rules": rulesSize, "counts": 16,
	"admitted": admittedSize,
}

// TestPageHasEveryField compares each table of a body with the type: the fields,
// their order, and their offsets.
func TestPageHasEveryField(t *testing.T) {
	page := readPage(t)
	for name, body := range pageBodies() {
		fields := tableOf(page, name)
		want := fieldsOf(reflect.TypeOf(body))
		at, fixed := 0, true
		for _, f := range fields {
			offset, kind, field := f[0], f[1], f[2]
			if expect := fmt.Sprint(at); fixed && offset != expect || !fixed && offset != "…" {
				t.Errorf("%s.%s is at %s in the page, want %s", name, field, offset, expect)
			}
			size, ok := fixedSizes[kind]
			at += size
			fixed = fixed && ok
			if field == "reserved" || field == "magic" {
				continue
			}
			if len(want) == 0 || want[0] != field {
				t.Errorf("%s: the page has %s, want %v", name, field, want)
				break
			}
			want = want[1:]
		}
		if len(want) > 0 {
			t.Errorf("%s: the page lacks %v", name, want)
		}
	}
}

func pageBodies() map[string]any {
	bodies := map[string]any{"Mutation": Mutation{}, "Rules": Rules{}, "Counts": Counts{}, "RoomConfig": RoomConfig{}}
	for _, s := range publicSamples() {
		bodies[s.name] = reflect.ValueOf(s.body).Elem().Interface()
	}
	bodies["Hello"] = Hello{}
	return bodies
}

func fieldsOf(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		names = append(names, snake(t.Field(i).Name))
	}
	return names
}

// tableOf gives the rows of the table under a body's heading.
func tableOf(page, name string) [][]string {
	_, rest, _ := strings.Cut(page, "\n### "+name+"\n")
	rest, _, _ = strings.Cut(rest, "\n#")
	var rows [][]string
	for _, m := range tableRow.FindAllStringSubmatch(rest, -1) {
		if m[1] != "offset" && !strings.HasPrefix(m[1], "---") {
			rows = append(rows, m[1:])
		}
	}
	return rows
}

// TestPageNamesTheLimits finds the limits of the code in the page.
func TestPageNamesTheLimits(t *testing.T) {
	page := readPage(t)
	for name, limit := range map[string]int{
		"MaxRequestBody": MaxRequestBody, "MaxAnswerBody": MaxAnswerBody, "MaxBatchOps": MaxBatchOps,
		"MaxChunk": MaxChunk, "MaxOpSeats": MaxOpSeats, "MaxSeats": MaxSeats, "MaxRowSeats": MaxRowSeats, "MaxRuleTime": MaxRuleTime,
		"MaxRoomLimit": MaxRoomLimit, "MaxRoomRate": MaxRoomRate, "MaxRoomTime": MaxRoomTime, "MaxSource": MaxSource,
		"MaxEntropy": MaxEntropy, "MaxJoins": MaxJoins, "MaxIssue": MaxIssue, "MaxNumbers": MaxNumbers,
	} {
		if !strings.Contains(page, thousands(limit)) {
			t.Errorf("the page does not say %s, which is %s", thousands(limit), name)
		}
	}
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%s,%03d", thousands(n/1000), n%1000)
}
