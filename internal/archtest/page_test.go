package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestArchitecturePageShowsTheHouse compares docs/architecture.md with the packages
// there are, and with the floors.
func TestArchitecturePageShowsTheHouse(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	requireNone(t, misdrawn(string(text), house(t)))
}

// roomCell is the first cell of a row of the page's table.
var roomCell = regexp.MustCompile("(?m)^\\| (`[^|]+`) \\|")

func misdrawn(page string, pkgs []pkg) (wrong []string) {
	var shown []string
	for _, cell := range roomCell.FindAllStringSubmatch(page, -1) {
		for name := range strings.SplitSeq(cell[1], ", ") {
			shown = append(shown, strings.Trim(name, "`"))
		}
	}
	for _, p := range pkgs {
		at, ok := roomOf(p.name)
		i := slices.Index(shown, p.name)
		if i >= 0 {
			shown = slices.Delete(shown, i, i+1)
		} else if ok && !at.apart {
			wrong = append(wrong, "docs/architecture.md does not say what happens in "+p.name)
		}
	}
	for _, name := range shown {
		wrong = append(wrong, "docs/architecture.md has a room more than once, or that is not there: "+name)
	}
	for i, names := range floors {
		line := fmt.Sprintf("\n%d. `%s`\n", len(floors)-i, strings.Join(names, "` `"))
		if !strings.Contains(page, line) {
			wrong = append(wrong, fmt.Sprintf("docs/architecture.md should have the floor %q", line))
		}
	}
	return wrong
}

func TestRuleSeesAMisdrawnHouse(t *testing.T) {
	right := "| `spool` | x |\n| `message`, `broker` | y |\n"
	for i := range floors {
		right += fmt.Sprintf("\n%d. `%s`\n", len(floors)-i, strings.Join(floors[i], "` `"))
	}
	pkgs := []pkg{{name: "spool"}, {name: "message"}, {name: "broker"}, {name: "bench/load"}}
	for name, tc := range map[string]struct{ page, want string }{
		"right":         {right, ""},
		"a room less":   {strings.Replace(right, "| `spool` | x |\n", "", 1), "does not say what happens in spool"},
		"a room more":   {right + "| `cellar` | z |\n", "that is not there: cellar"},
		"twice":         {right + "| `spool` | z |\n", "more than once"},
		"another floor": {strings.Replace(right, "`sidecar`\n", "`sidecar` `spool`\n", 1), "should have the floor"},
	} {
		got := strings.Join(misdrawn(tc.page, pkgs), "; ")
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
