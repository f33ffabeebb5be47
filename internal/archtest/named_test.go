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

// namedForm is a line of the Makefile that runs tests of one package by their names.
var namedForm = regexp.MustCompile(`(?m)^\tgo test .*-run '([^']+)' \./(\S+)$`)

var testForm = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Example)\w*)\(`)

// TestNamedTestsExist checks what the Makefile runs by name: to go test it is no
// failure to run nothing.
func TestNamedTestsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	requireNone(t, misnamed(string(makefile), func(folder string) []string { return testsOf(t, folder) }))
}

// misnamed are the names that select none of the tests of their package. A pattern
// is taken apart at its |: each of its names has to be there.
func misnamed(makefile string, tests func(folder string) []string) (wrong []string) {
	lines := namedForm.FindAllStringSubmatch(makefile, -1)
	if all := strings.Count(makefile, "-run "); len(lines) != all || all == 0 {
		wrong = append(wrong, fmt.Sprintf("Makefile: %d of %d lines with -run can be read, write -run 'NAMES' ./PACKAGE at their end", len(lines), all))
	}
	for _, line := range lines {
		for name := range strings.SplitSeq(line[1], "|") {
			selects, err := regexp.Compile(strings.ReplaceAll(name, "$$", "$"))
			if err != nil || !slices.ContainsFunc(tests(line[2]), selects.MatchString) {
				wrong = append(wrong, fmt.Sprintf("Makefile: %s names no test of %s", name, line[2]))
			}
		}
	}
	return wrong
}

// testsOf are the names of what go test may run of a package.
func testsOf(t *testing.T, folder string) (names []string) {
	t.Helper()
	for file, source := range sources(t, folder) {
		if strings.HasSuffix(file, "_test.go") {
			for _, found := range testForm.FindAllStringSubmatch(source, -1) {
				names = append(names, found[1])
			}
		}
	}
	return names
}

func TestRuleSeesNamesOfNoTest(t *testing.T) {
	tests := func(folder string) []string {
		return map[string][]string{"spool": {"TestKept", "TestKeptToo"}}[folder]
	}
	for line, want := range map[string]string{
		"go test -run '^TestKept$$' ./spool":             "",
		"go test -vet=off -run 'Kept|TooLate' ./spool":   "TooLate names no test of spool",
		"go test -run '^TestKep$$' ./spool":              "^TestKep$$ names no test of spool",
		"go test -run '^TestKept$$' ./cellar":            "names no test of cellar",
		"go test -run ^TestKept$$ ./spool":               "0 of 1 lines",
		"go test -run '^TestKept$$|^TestKept(' ./spool ": "0 of 1 lines",
		"go test ./spool":                                "0 of 0 lines",
	} {
		got := strings.Join(misnamed("test:\n\t"+line+"\n", tests), "; ")
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
