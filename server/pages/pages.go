// Package pages holds the web pages that a node serves: the buyer's, the one
// that verifies a draw, and the operator's. They are plain HTML, CSS and ES
// modules, built into the program as they are. Nothing here talks to a network or
// decides anything: the pages use the same HTTP calls as everybody.
package pages

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// Prefix begins the path of every asset. The set's version and the asset's name
// follow.
const Prefix = "/assets/"

// placeholder stands in the pages where the version belongs.
const placeholder = Prefix + "@/"

//go:embed *.html assets
var files embed.FS

// Policy is the Content-Security-Policy of all pages: whatever they load, run or
// talk to comes from the node that served them, and nobody may frame them.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// A Site is all pages and assets of this program. It is immutable.
//
// The version is a digest of all assets, and part of their paths. So an asset may be
// kept for ever, and modules that import each other by relative paths always come
// from one set.
type Site struct {
	version string
	pages   map[string]*File // by name
	assets  map[string]*File // by path below the version
}

// A File is a page or an asset. Its packed forms are made when they are first
// asked for.
type File struct {
	Media string // Content-Type
	Body  []byte // immutable
	Tag   string // a digest of Body, without quotes

	mu     sync.Mutex
	packed map[string][]byte // by content coding
}

// Load reads what is built in.
var Load = sync.OnceValues(load)

func load() (*Site, error) {
	s := &Site{pages: make(map[string]*File), assets: make(map[string]*File)}
	all := sha256.New()
	err := fs.WalkDir(files, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := read(name, "")
		if err != nil {
			return err
		}
		s.assets[strings.TrimPrefix(name, "assets/")] = f
		_, err = fmt.Fprintf(all, "%s %s\n", name, f.Tag) // in the order of names
		return err
	})
	if err != nil {
		return nil, err
	}
	s.version = digest(all.Sum(nil))
	names, err := fs.Glob(files, "*.html")
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if s.pages[name], err = read(name, s.version); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// read makes a File. In pages the placeholder becomes the assets' version.
func read(name, version string) (*File, error) {
	body, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	media, known := medias[path.Ext(name)]
	if !known {
		return nil, fmt.Errorf("pages: %s is of no known type", name)
	}
	if version != "" {
		body = []byte(strings.ReplaceAll(string(body), placeholder, Prefix+version+"/"))
	}
	sum := sha256.Sum256(body)
	return &File{Media: media, Body: body, Tag: digest(sum[:]), packed: make(map[string][]byte)}, nil
}

var medias = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".txt":  "text/plain; charset=utf-8",
}

func digest(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:12]) }

// Page is the page of a name, such as "buyer.html"; nil if there is none.
func (s *Site) Page(name string) *File { return s.pages[name] }

// Version is the part of the assets' paths that changes with any of them.
func (s *Site) Version() string { return s.version }

// Asset is the asset of a path that begins with a version. current is false if the
// version is another one: a page of a node that runs another release may ask for it.
func (s *Site) Asset(rest string) (f *File, current bool) {
	version, name, _ := strings.Cut(rest, "/")
	return s.assets[name], version == s.version
}

// Packed is the file in a content coding, made by pack the first time. The caller
// does not change it.
func (f *File) Packed(coding string, pack func([]byte) []byte) []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, done := f.packed[coding]
	if !done {
		b = pack(f.Body)
		f.packed[coding] = b
	}
	return b
}
