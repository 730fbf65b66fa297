package server

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestHTTPDocs runs the commands of docs/http.md in their order against a fresh
// node and compares what they answer with what the page shows. It understands as
// much of curl and of the shell as the page uses.
func TestHTTPDocs(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "docs", "http.md"))
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t, nil)
	vars := make(map[string]string)
	ran := 0
	for _, block := range regexp.MustCompile("(?s)```console\n(.*?)```").FindAllStringSubmatch(string(page), -1) {
		for _, step := range strings.Split(block[1], "$ ")[1:] {
			command, want, _ := strings.Cut(step, "\n")
			a := s.do(curl(t, s, command, vars))
			ran++
			if !resembles(want, string(a.raw)) {
				t.Errorf("%s\nanswers %s\nthe page says %s", command, a.raw, want)
			}
			if a.str("fence") != "" && a.code == http.StatusCreated {
				vars["ID"], vars["FENCE"] = a.str("id"), a.str("fence")
			}
			if key := a.str("key"); strings.HasPrefix(key, keyPrefix) {
				vars["KEY"] = key
			}
			if pass := a.str("pass"); pass != "" {
				vars["PASS"] = pass
			}
			if ticket := a.str("ticket"); ticket != "" {
				vars["TICKET"] = ticket
				until(t, "the number is called", func() bool { return s.get("/v1/events/gala/queue?consistent=1").num("serving") > 0 })
			}
		}
	}
	if ran < 15 {
		t.Errorf("only %d commands found on the page", ran)
	}
}

// curl makes a call of a command line.
func curl(t *testing.T, s *site, command string, vars map[string]string) call {
	t.Helper()
	words := shellWords(t, command, vars)
	c := call{method: http.MethodGet, header: make(map[string]string)}
	if words[0] != "curl" {
		t.Fatalf("%q is not curl", command)
	}
	for i := 1; i < len(words); i++ {
		switch w := words[i]; w {
		case "--json":
			i++
			c.method, c.body = http.MethodPost, words[i]
		case "-X":
			i++
			c.method = words[i]
		case "-H":
			i++
			name, value, _ := strings.Cut(words[i], ": ")
			c.header[name] = value
		default:
			w = strings.Replace(w, "localhost:8080", s.api, 1)
			c.url = strings.Replace(w, "localhost:9090", s.admin, 1)
		}
	}
	return c
}

// shellWords splits a command as a shell would: quotes of both kinds, $NAME.
func shellWords(t *testing.T, command string, vars map[string]string) []string {
	t.Helper()
	var words []string
	var word strings.Builder
	inWord, quote := false, byte(0)
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			quote, inWord = c, true
		case c == quote && quote != 0:
			quote = 0
		case quote != '\'' && c == '$':
			name := regexp.MustCompile(`^[A-Z]+`).FindString(command[i+1:])
			if vars[name] == "" {
				t.Fatalf("%s: $%s is not set", command, name)
			}
			word.WriteString(vars[name])
			i += len(name)
			inWord = true
		case quote == 0 && c == ' ':
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	return append(words, word.String())
}

// resembles compares an answer with a page's, in which an ellipsis stands for
// anything within a string, or for a number.
func resembles(want, got string) bool {
	parts := strings.Split(strings.TrimSpace(want), "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile("^" + strings.Join(parts, `(?:[^"\\]|\\.)*`) + "$").MatchString(strings.TrimSpace(got))
}
