package archtest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A guarantee is a row of a table whose last column is headed "proved by".
type guarantee struct {
	owed   string
	proofs []proof
}

// A proof is a test function, by its folder and its name.
type proof struct{ folder, test string }

var proofForm = regexp.MustCompile("`([a-z0-9_/]+)\\.((?:Test|Fuzz)\\w+)(?:/[^`]*)?`")

// TestGuaranteesAreProved checks that each line of the pages below names a
// test, and that each named test exists.
func TestGuaranteesAreProved(t *testing.T) {
	for _, page := range []string{"docs/guarantees.md", "docs/reliability.md"} {
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page)))
		if err != nil {
			t.Fatal(err)
		}
		owed := guarantees(string(text))
		if len(owed) < 20 {
			t.Fatalf("%s: only %d lines were found, the check would prove nothing", page, len(owed))
		}
		requireNone(t, unproved(page, owed, func(p proof) bool { return exists(t, p) }))
	}
}

func exists(t *testing.T, p proof) bool {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func ` + p.test + `\(`)
	for name, source := range sources(t, p.folder) {
		if strings.HasSuffix(name, "_test.go") && declared.MatchString(source) {
			return true
		}
	}
	return false
}

func guarantees(text string) []guarantee {
	var found []guarantee
	proving := false
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !strings.HasPrefix(line, "|"):
			proving = false
		case last == "proved by":
			proving = true
		case proving && strings.Trim(last, "-") != "":
			found = append(found, guarantee{owed: strings.TrimSpace(cells[0]), proofs: proofs(last)})
		}
	}
	return found
}

func proofs(cell string) []proof {
	var found []proof
	for _, m := range proofForm.FindAllStringSubmatch(cell, -1) {
		found = append(found, proof{folder: m[1], test: m[2]})
	}
	return found
}

func unproved(page string, owed []guarantee, exists func(proof) bool) []string {
	var wrong []string
	for _, g := range owed {
		if len(g.proofs) == 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %q names no test", page, g.owed))
		}
		for _, p := range g.proofs {
			if !exists(p) {
				wrong = append(wrong, fmt.Sprintf("%s: %q is to be proved by %s.%s, which does not exist",
					page, g.owed, p.folder, p.test))
			}
		}
	}
	return wrong
}

func TestRuleSeesUnprovedGuarantees(t *testing.T) {
	text := "| owed | proved by |\n|---|---|\n" +
		"| kept | `spool.TestKept` `spool.TestKept/row` |\n| half kept | `spool.TestKept` `spool.TestGone` |\n| not kept | later |\n" +
		"\n| not | a promise |\n|---|---|\n| x | y |\n"
	got := unproved("page", guarantees(text), func(p proof) bool { return p == proof{"spool", "TestKept"} })
	if len(got) != 2 || !strings.Contains(got[0], "spool.TestGone, which does not exist") || !strings.Contains(got[1], `"not kept" names no test`) {
		t.Errorf("found %q, want the missing test and the line without one", got)
	}
}
