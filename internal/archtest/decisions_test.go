package archtest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	decisionForm = regexp.MustCompile(`^(\d{4})-[a-z0-9-]+\.md$`)
	numberForm   = regexp.MustCompile(`^# (\d{4}): `)
	stateForm    = regexp.MustCompile(`^(Accepted|Proposed|Rejected|Superseded)\b`)
)

// decisionIndex lists the pages.
const decisionIndex = "README.md"

// TestDecisionsAreNumbered checks that the pages of docs/adr are numbered from 0
// on, each number once, that a page says its own, and its state, and that the index
// has all of them.
func TestDecisionsAreNumbered(t *testing.T) {
	folder := filepath.Join(root, "docs", "adr")
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	titles, states := map[string]string{}, map[string]string{}
	index := ""
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == decisionIndex {
			index = string(text)
			continue
		}
		lines := append(strings.Split(string(text), "\n"), "", "", "")
		titles[e.Name()], states[e.Name()] = lines[0], lines[2]
	}
	if len(titles) < 20 {
		t.Fatalf("only %d decisions were found, the check would prove nothing", len(titles))
	}
	requireNone(t, misnumbered(titles))
	requireNone(t, misindexed(index, titles, states))
}

// misindexed compares the rows of the index with the pages' titles and states.
func misindexed(index string, titles, states map[string]string) (wrong []string) {
	rows := map[string]bool{}
	for row := range strings.Lines(index) {
		if strings.HasPrefix(row, "| [") {
			rows[strings.TrimSpace(row)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(titles)) {
		number, title, _ := strings.Cut(strings.TrimPrefix(titles[name], "# "), ": ")
		state := stateForm.FindString(states[name])
		if state == "" {
			wrong = append(wrong, fmt.Sprintf("docs/adr/%s has %q where Accepted, Proposed, Rejected or Superseded should stand", name, states[name]))
			continue
		}
		row := fmt.Sprintf("| [%s](%s) | %s | %s |", number, name, title, strings.ToLower(state))
		if !rows[row] {
			wrong = append(wrong, "docs/adr/"+decisionIndex+" should have the row "+row)
		}
		delete(rows, row)
	}
	for _, row := range slices.Sorted(maps.Keys(rows)) {
		wrong = append(wrong, "docs/adr/"+decisionIndex+" has a row of no page: "+row)
	}
	return wrong
}

func TestRuleSeesAWrongIndex(t *testing.T) {
	const right = "| [0000](0000-a.md) | A | accepted |\n"
	for name, tc := range map[string]struct {
		index, state string
		want         string
	}{
		"right":         {"# Decisions\n\n" + right, "Accepted. Adds to 0003.", ""},
		"no row":        {"", "Accepted.", "should have the row"},
		"another state": {right, "Superseded by 0001.", "should have the row | [0000](0000-a.md) | A | superseded |"},
		"no state":      {right, "## Context", `has "## Context" where`},
		"no page":       {right + "| [0001](0001-b.md) | B | accepted |\n", "Accepted.", "a row of no page: | [0001]"},
	} {
		got := strings.Join(misindexed(tc.index, map[string]string{"0000-a.md": "# 0000: A"}, map[string]string{"0000-a.md": tc.state}), "; ")
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// misnumbered takes the first lines of pages by their names.
func misnumbered(titles map[string]string) (wrong []string) {
	pages := map[string][]string{}
	for name, title := range titles {
		form, said := decisionForm.FindStringSubmatch(name), numberForm.FindStringSubmatch(title)
		if form == nil {
			wrong = append(wrong, "docs/adr/"+name+" is not named NNNN-what-was-decided.md")
			continue
		}
		pages[form[1]] = append(pages[form[1]], name)
		if said == nil || said[1] != form[1] {
			wrong = append(wrong, fmt.Sprintf("docs/adr/%s begins with %q; it should be \"# %s: \" and what was decided", name, title, form[1]))
		}
	}
	for n := range len(pages) {
		number := fmt.Sprintf("%04d", n)
		switch all := slices.Sorted(slices.Values(pages[number])); {
		case len(all) == 0:
			wrong = append(wrong, "docs/adr: no decision has number "+number+", and others have higher ones")
		case len(all) > 1:
			wrong = append(wrong, fmt.Sprintf("docs/adr: %d decisions have number %s: %s", len(all), number, strings.Join(all, ", ")))
		}
	}
	return wrong
}

func TestRuleSeesWrongNumbers(t *testing.T) {
	for name, tc := range map[string]struct {
		titles map[string]string
		want   string
	}{
		"in order":     {map[string]string{"0000-a.md": "# 0000: A", "0001-b.md": "# 0001: B"}, ""},
		"twice":        {map[string]string{"0000-a.md": "# 0000: A", "0000-b.md": "# 0000: B"}, "2 decisions have number 0000: 0000-a.md, 0000-b.md"},
		"a gap":        {map[string]string{"0000-a.md": "# 0000: A", "0002-b.md": "# 0002: B"}, "no decision has number 0001"},
		"from 1":       {map[string]string{"0001-a.md": "# 0001: A"}, "no decision has number 0000"},
		"its title":    {map[string]string{"0000-a.md": "# 0007: A"}, `0000-a.md begins with "# 0007: A"`},
		"another name": {map[string]string{"0000-a.md": "# 0000: A", "1-b.md": "# 0001: B"}, "1-b.md is not named"},
	} {
		got := strings.Join(misnumbered(tc.titles), "; ")
		if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}
