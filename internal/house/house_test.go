// Package house keeps the arrows between the packages pointing down.
package house

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/usher-seats/usher/"

// allowed lists, for each folder, the folders of this module that its shipped
// code may import, itself aside.
var allowed = map[string][]string{
	"wire":    {},
	"shard":   {"wire"},
	"raftlog": {"wire"},
	"client":  {"wire"},
	"server":  {"client", "raftlog", "shard", "wire"},
	"bench":   {"client", "wire"},
	"cmd":     {"bench", "client", "server", "wire"},
}

func TestImportsPointDown(t *testing.T) {
	for _, file := range goFiles(t) {
		folder, _, _ := strings.Cut(file, string(filepath.Separator))
		downward, known := allowed[folder]
		if !known || strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, path := range imports(t, file) {
			target, ours := strings.CutPrefix(path, module)
			if !ours {
				if folder == "client" && strings.Contains(strings.Split(path, "/")[0], ".") {
					t.Errorf("%s imports %s: the client imports wire and the standard library only", file, path)
				}
				continue
			}
			target, _, _ = strings.Cut(target, "/")
			if target != folder && !contains(downward, target) {
				t.Errorf("%s imports %s: %s may import %v", file, path, folder, downward)
			}
		}
	}
}

func TestTopLevelIsTheHouse(t *testing.T) {
	want := map[string]bool{
		"server": true, "shard": true, "raftlog": true, "client": true, "bench": true, "docs": true,
		"cmd": true, "wire": true, "internal": true,
		"go.mod": true, "go.sum": true, "Makefile": true, "README.md": true, "LICENSE": true,
		"bin": true, // what make builds; git ignores it
	}
	entries, err := os.ReadDir(root(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !want[e.Name()] && !strings.HasPrefix(e.Name(), ".") && !strings.HasSuffix(e.Name(), "-data") {
			t.Errorf("%s does not belong at the top of the project", e.Name())
		}
	}
}

// maxLines is where a file has more than one thing to say.
const maxLines = 600

func TestFilesStayReadable(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root(t), file))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "\n"); n > maxLines {
			t.Errorf("%s has %d lines, more than %d", file, n, maxLines)
		}
	}
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// goFiles lists all Go files, relative to the root.
func goFiles(t *testing.T) []string {
	t.Helper()
	var files []string
	top := root(t)
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != top && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			rel, err := filepath.Rel(top, path)
			if err != nil {
				return err
			}
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

func imports(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), file), nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, spec := range parsed.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}
