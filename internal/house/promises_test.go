package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testName = regexp.MustCompile("`([a-z0-9/]+)/((?:Test|Fuzz)[A-Za-z]+)`")

// TestPromisesNameTests proves that docs/promises.md names tests that exist, and
// several for every promise.
func TestPromisesNameTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "docs", "promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	code := make(map[string]string) // of all tests, by package
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			source, err := os.ReadFile(filepath.Join(root(t), file))
			if err != nil {
				t.Fatal(err)
			}
			code[filepath.Dir(file)] += string(source)
		}
	}
	for i, promise := range strings.Split(string(text), "\n## ")[1:] {
		names := testName.FindAllStringSubmatch(promise, -1)
		if len(names) < 2 {
			t.Errorf("promise %d has %d tests", i+1, len(names))
		}
		for _, n := range names {
			if !strings.Contains(code[n[1]], "func "+n[2]+"(") {
				t.Errorf("promise %d names %s/%s, which does not exist", i+1, n[1], n[2])
			}
		}
	}
}
