package metrics

import (
	"strings"
	"testing"
)

func TestMetricsAreRead(t *testing.T) {
	got, err := Parse(strings.NewReader("# HELP a b\na{x=\"1\"} 2\na{x=\"2\"} 3.5\nb 1e3\n"))
	if err != nil || got["a"] != 5.5 || got["b"] != 1000 {
		t.Fatalf("%v %v", got, err)
	}
	if _, err := Parse(strings.NewReader("a b\n")); err == nil {
		t.Error("a line without a number was accepted")
	}
}
