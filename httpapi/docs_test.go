package httpapi

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// docs/producing.md has a row for each option of a publish.
func TestProducingPageHasEachOption(t *testing.T) {
	page, err := os.ReadFile("../docs/producing.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z-]+)[:`]").FindAllStringSubmatch(string(page), -1) {
		documented[strings.ToLower(row[1])] = true
	}
	var asked name
	for _, o := range options {
		asked |= o.of
	}
	for header, n := range names {
		if asked&n != 0 && !documented[header] {
			t.Errorf("it does not tell of %s", header)
		}
	}
}
