package pages

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func site(t *testing.T) *Site {
	t.Helper()
	s, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// all yields every page and asset with its name.
func (s *Site) all(yield func(name string, f *File) bool) {
	for _, set := range []map[string]*File{s.pages, s.assets} {
		for name, f := range set {
			if !yield(name, f) {
				return
			}
		}
	}
}

// vendored begins the names of what others wrote.
const vendored = "vendor/"

// TestNothingComesFromElsewhere proves that no page or asset names another host. What
// others wrote may, in its comments, say where it comes from.
func TestNothingComesFromElsewhere(t *testing.T) {
	url := regexp.MustCompile(`(?i)\b(https?|wss?):?//[^\s"'` + "`" + `)]*|["'(=]//[a-z]`)
	comment := regexp.MustCompile(`(?s)/\*.*?\*/`)
	namespace := "http://www.w3.org/2000/svg" // a name, which nobody fetches
	n := 0
	for name, f := range site(t).all {
		n++
		body := string(f.Body)
		if strings.HasPrefix(name, vendored) {
			body = comment.ReplaceAllString(body, "")
			if strings.HasSuffix(name, "LICENSE.txt") {
				continue
			}
		}
		for _, found := range url.FindAllString(body, -1) {
			if found != namespace {
				t.Errorf("%s names %s", name, found)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d pages and assets were looked at", n)
	}
}

// TestNothingIsInline proves that pages obey their policy: no scripts, styles or
// listeners in the HTML.
func TestNothingIsInline(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?:\s+(?:type="module"|src="[^"]*"|defer))*>[^<]`)
	for name, f := range site(t).pages {
		if found := inline.FindString(string(f.Body)); found != "" {
			t.Errorf("%s has %q", name, found)
		}
	}
}

var reference = regexp.MustCompile(`(?:src|href)="(/assets/[^"]*)"|from "\./([^"]*)"`)

// TestReferencesLead proves that whatever a page or module asks for is there.
func TestReferencesLead(t *testing.T) {
	s := site(t)
	n := 0
	for name, f := range s.all {
		for _, m := range reference.FindAllStringSubmatch(string(f.Body), -1) {
			n++
			rest := strings.TrimPrefix(m[1], Prefix)
			if m[2] != "" {
				rest = s.version + "/" + m[2]
			}
			if a, current := s.Asset(rest); a == nil || !current {
				t.Errorf("%s asks for %s, which is not there", name, m[0])
			}
		}
		if bytes.Contains(f.Body, []byte(placeholder)) {
			t.Errorf("%s still has the placeholder of the version", name)
		}
	}
	if n < 40 {
		t.Errorf("only %d references were followed", n)
	}
}

// maxScript is how many lines a module may have.
const maxScript = 400

func TestScriptsStayReadable(t *testing.T) {
	for name, f := range site(t).assets {
		if strings.HasPrefix(name, vendored) {
			continue
		}
		if n := bytes.Count(f.Body, []byte("\n")); n > maxScript {
			t.Errorf("%s has %d lines, more than %d", name, n, maxScript)
		}
	}
}

// TestPagesAreForEverybody proves what screen readers and phones need of every page.
func TestPagesAreForEverybody(t *testing.T) {
	for name, f := range site(t).pages {
		for _, want := range []string{
			"<!doctype html>", `<html lang="en">`, `name="viewport" content="width=device-width, initial-scale=1"`,
			"<title>", "<main ", `aria-live="polite"`,
		} {
			if !bytes.Contains(f.Body, []byte(want)) {
				t.Errorf("%s lacks %s", name, want)
			}
		}
	}
}
