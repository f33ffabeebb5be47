package admin

import (
	"cmp"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// operatingPage is the part of docs/operating.md below a heading.
func operatingPage(t *testing.T, heading string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/operating.md has no part %q", heading)
	}
	part, _, _ := strings.Cut(rest, "\n## ")
	return part
}

func TestPageHasEveryCondition(t *testing.T) {
	var documented []Condition
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(operatingPage(t, "What a sidecar says of itself"), -1) {
		documented = append(documented, Condition(row[1]))
	}
	if !slices.Equal(documented, inOrder()) {
		t.Errorf("the page has %q, there are %q", documented, inOrder())
	}
}

// inOrder are the known conditions, first those with which it is not ready.
func inOrder() []Condition {
	degrading := Degrading()
	unready := slices.DeleteFunc(slices.Clone(known), func(c Condition) bool { return slices.Contains(degrading, c) })
	return append(unready, degrading...)
}

// requestForm is a request of the page; after the first of a row the method is left out.
var requestForm = regexp.MustCompile("`(?:(GET|POST|DELETE) )?(/[^`]+)`")

// TestPageHasEveryRequest reads the rows of requests, in which /release stands for
// /v1/messages/{id}/release where that follows /v1/messages/{id}/hold.
func TestPageHasEveryRequest(t *testing.T) {
	documented := map[string]bool{}
	for row := range strings.Lines(operatingPage(t, "The admin API")) {
		requests, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		if requests == row {
			continue
		}
		method, at := "", ""
		for _, one := range requestForm.FindAllStringSubmatch(requests, -1) {
			method = cmp.Or(one[1], method)
			if one[1] != "" || strings.HasPrefix(one[2], "/v1/") {
				at = one[2]
			} else {
				at = path.Dir(at) + one[2]
			}
			documented[method+" "+at] = true
		}
	}
	want := readDescription(t).operations()
	for _, op := range slices.Sorted(maps.Keys(want)) {
		if !documented[op] {
			t.Errorf("the page does not have %s", op)
		}
		delete(documented, op)
	}
	for op := range documented {
		t.Errorf("there is no %s", op)
	}
}
